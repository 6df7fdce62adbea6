/* Machine code of threaded code: stencils copied one after the other, with the words of each instruction put into their
   places. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/mman.h>

struct stencil {
   u32 code, size, first_patch, patch_count;
};
struct patch {
   u32 at;
   u8 kind, index;
   i32 addend;
};
/* What is put in: a word of the instruction, or, as word 0, where it stands; and relative to the place: the next copy, what is
   shared, a function outside. */
enum { PATCH_WORD, PATCH_NEXT, PATCH_SHARED, PATCH_SHARED_ADDRESS, PATCH_EXTERNAL };
#include "stencil-tables.h"

/* Memory for machine code, below 2^31: first the ways to functions outside, then what is shared, then copies. A replay has
   as many of them as it needs. */
struct machine_code {
   u8 *start, *shared, *next, *end;
   struct machine_code* before;
};
#define MACHINE_CODE_SIZE (16u << 20)

/* The way to a function outside: push %r11; mov $function,%rax; mov $call_outside,%r11; jmp *%r11. rax is free: the
   result comes there. */
static const u8 way[] = { 0x41, 0x53, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3 };
enum { WAY_FUNCTION = 4, WAY_CALL = 14, WAY_SIZE = 32 };

/* Calls the function in rax with all registers saved but that of its result; the first is on the stack. */
void call_outside(void) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".type call_outside, @function\n"
        "call_outside:\n"
        "push %rbp\n"
        "mov %rsp, %rbp\n"
        "push %rcx\n push %rdx\n push %rsi\n push %rdi\n push %r8\n push %r9\n push %r10\n"
        "sub $256, %rsp\n"
        "and $-16, %rsp\n"
#define SAVE(n) "movups %xmm" #n ", 16*" #n "(%rsp)\n"
#define EACH_VECTOR(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
        EACH_VECTOR(SAVE)
        "call *%rax\n"
#define RESTORE(n) "movups 16*" #n "(%rsp), %xmm" #n "\n"
        EACH_VECTOR(RESTORE)
        "lea -56(%rbp), %rsp\n"
        "pop %r10\n pop %r9\n pop %r8\n pop %rdi\n pop %rsi\n pop %rdx\n pop %rcx\n"
        "pop %rbp\n"
        "pop %r11\n"
        "ret\n"
        ".size call_outside, .-call_outside\n");

static void write32(u8* at, u32 value) { memcpy(at, &value, 4); }

static void apply_patch(const struct machine_code* code, const struct patch* patch, u8* copy, const u32* words, u32 instruction, const u8* next)
{
   u8* at = copy + patch->at;
   u32 here = (uintptr_t)at, target;
   switch (patch->kind) {
   case PATCH_WORD: write32(at, (patch->index == 0 ? instruction : words[patch->index]) + patch->addend); return;
   case PATCH_SHARED_ADDRESS: write32(at, (u32)(uintptr_t)code->shared + patch->addend); return;
   case PATCH_NEXT: target = (uintptr_t)next; break;
   case PATCH_SHARED: target = (uintptr_t)code->shared; break;
   default: target = (uintptr_t)code->start + WAY_SIZE * patch->index;
   }
   write32(at, target + patch->addend - here);
}

/* Returns NULL when there is no memory for it. */
static struct machine_code* make_machine_code(struct machine_code* before)
{
   u8* at = mmap(NULL, MACHINE_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT, -1, 0);
   if (at == MAP_FAILED) return NULL;
   struct machine_code* code = malloc(sizeof *code);
   if (code == NULL) {
      munmap(at, MACHINE_CODE_SIZE);
      return NULL;
   }
   code->start = at;
   code->end = at + MACHINE_CODE_SIZE;
   code->before = before;
   for (u32 i = 0; i < EXTERNALS; i++, at += WAY_SIZE) {
      memcpy(at, way, sizeof way);
      memcpy(at + WAY_FUNCTION, &externals[i], 8);
      void (*call)(void) = call_outside;
      memcpy(at + WAY_CALL, &call, 8);
   }
   code->shared = at;
   code->next = at + sizeof shared_code;
   memcpy(at, shared_code, sizeof shared_code);
   for (u32 i = 0; i < SHARED_PATCHES; i++) apply_patch(code, &shared_patches[i], at, NULL, 0, NULL);
   return code;
}

static void drop_machine_code(struct machine_code* code)
{
   while (code != NULL) {
      struct machine_code* before = code->before;
      munmap(code->start, MACHINE_CODE_SIZE);
      free(code);
      code = before;
   }
}

/* Copies the stencils of instructions in linear memory; returns where they begin, 0 when there is no room. */
static u32 copy_stencils(struct machine_code** newest, const u8* m, const u32* instructions, u32 count)
{
   u64 size = 0;
   for (u32 i = 0; i < count; i++) size += stencils[i32_load(m, instructions[i], 0)].size;
   if (size > (u64)((*newest)->end - (*newest)->next)) {
      struct machine_code* more = make_machine_code(*newest);
      if (more == NULL) return 0;
      *newest = more;
      if (size > (u64)(more->end - more->next)) return 0;
   }
   struct machine_code* code = *newest;
   u8* start = code->next;
   for (u32 i = 0; i < count; i++) {
      const u32* words = (const u32*)(m + instructions[i]);
      const struct stencil* stencil = &stencils[words[0]];
      u8* copy = code->next;
      code->next += stencil->size;
      memcpy(copy, stencil_code + stencil->code, stencil->size);
      for (u32 p = 0; p < stencil->patch_count; p++)
         apply_patch(code, &stencil_patches[stencil->first_patch + p], copy, words, instructions[i], code->next);
   }
   return (uintptr_t)start;
}
