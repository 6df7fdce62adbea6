/* Parts of the engine that cost much and give a recording nothing, or could be had for less. The linker
   (`--wrap`) puts what stands here in their place; docs/architecture.md says what it saves.

   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"
#include "libvex_ir.h"

/* ---------------------------------------------------------------- names of functions to replace

   Each pattern of a replacement is compared with each symbol of the libraries that it is meant for: a hundred
   thousand times in the shortest program, nearly always to differ in the first letter. `*` is any text, `?`
   any character. */

Bool __wrap_vgPlain_string_match(const HChar* pattern, const HChar* text);
Bool __wrap_vgPlain_string_match(const HChar* pattern, const HChar* text)
{
   /* The last star passed, and where the text goes on if it stands for one character more. */
   const HChar *star = NULL, *after = NULL;
   for (;;) {
      if (*pattern == '*') {
         star = ++pattern;
         after = text;
      } else if (*text ? *pattern == '?' || *pattern == *text : *pattern == 0) {
         if (*text == 0) return True;
         pattern++;
         text++;
      } else {
         if (star == NULL || *after == 0) return False;
         pattern = star;
         text = ++after;
      }
   }
}

/* ---------------------------------------------------------------- translation

   What we add to a superblock is as plain as the rest of it, which has just been optimised: there is nothing to
   simplify. And that it is well formed is checked where tests ask for it. */

IRSB* __wrap_cprop_BB(IRSB*);
IRSB* __wrap_cprop_BB(IRSB* block) { return block; }

void __wrap_do_deadcode_BB(IRSB*);
void __wrap_do_deadcode_BB(IRSB* block) { (void)block; }

void __real_sanityCheckIRSB(const IRSB*, const HChar* when, Bool flat, IRType word);
void __wrap_sanityCheckIRSB(const IRSB*, const HChar* when, Bool flat, IRType word);
void __wrap_sanityCheckIRSB(const IRSB* block, const HChar* when, Bool flat, IRType word)
{
   if (opt_verify) __real_sanityCheckIRSB(block, when, flat, word);
}
