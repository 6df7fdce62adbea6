/* For programs that manage capabilities of their own (indices in a table that stand for objects: those of a microkernel,
   handles of a driver, slots of a resource manager): include this header and say what happens to them. Then
   `grind analyze capcheck` tells of leaks, double frees, uses after the end, mappings over live ones, wrong protocols.

   The model is that of Fiasco.OC. A *space* is the table of one task. An *index* in it is allocated and freed by the
   program's own allocator; apart from that, a capability to an *object* is mapped there and unmapped. An object has a
   *protocol*, a number of the program's choice, by which those who invoke it must speak to it. Spaces, objects and
   messages are any numbers or pointers that tell them apart; so are rights, as bits.

   Outside of a recording each macro costs a few moves and four rotates and does nothing; with GRIND_NO_CAPABILITIES defined,
   and on other machines than Linux on amd64, nothing at all. Nothing else is needed to compile it.
   SPDX-License-Identifier: Apache-2.0 */
#ifndef GRIND_CAPABILITIES_H
#define GRIND_CAPABILITIES_H

#if defined(__x86_64__) && defined(__linux__) && !defined(GRIND_NO_CAPABILITIES)
/* Valgrind's client requests: rdi is rotated by 128 bits in all, and an exchange does nothing, which the engine takes as
   a mark; rax points to the number of the request and its arguments. */
#define GRIND_CAP_REQUEST_(number, a, b, c, d, e)                                                      \
   do {                                                                                                \
      unsigned long grind_request_[6] = {0x47520040ul + (number), (unsigned long)(a),                  \
                                         (unsigned long)(b),      (unsigned long)(c),                  \
                                         (unsigned long)(d),      (unsigned long)(e)};                 \
      unsigned long grind_answer_ = 0;                                                                 \
      __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"         \
                       "xchgq %%rbx, %%rbx"                                                            \
                       : "+d"(grind_answer_)                                                           \
                       : "a"(grind_request_)                                                           \
                       : "cc", "memory");                                                              \
   } while (0)
#else
#define GRIND_CAP_REQUEST_(number, a, b, c, d, e)                                                      \
   do {                                                                                                \
      (void)(sizeof(a) + sizeof(b) + sizeof(c) + sizeof(d) + sizeof(e));                               \
   } while (0)
#endif

#define GRIND_CAP_ALL_RIGHTS (~0ul)

/* A task with a space of capabilities begins; `name` is a string for reports. */
#define GRIND_CAP_SPACE(space, name) GRIND_CAP_REQUEST_(0, space, name, 0, 0, 0)
/* It ends, and the kernel takes back all that is in its space. */
#define GRIND_CAP_SPACE_END(space) GRIND_CAP_REQUEST_(1, space, 0, 0, 0, 0)
/* An object exists from now on, which speaks `protocol` (0: any). */
#define GRIND_CAP_OBJECT(object, name, protocol) GRIND_CAP_REQUEST_(2, object, name, protocol, 0, 0)
/* It ends: capabilities to it stay where they are, but lead nowhere. */
#define GRIND_CAP_OBJECT_END(object) GRIND_CAP_REQUEST_(3, object, 0, 0, 0, 0)

/* The allocator of indices gives one out, and takes one back. */
#define GRIND_CAP_ALLOC(space, index) GRIND_CAP_REQUEST_(4, space, index, 0, 0, 0)
#define GRIND_CAP_FREE(space, index) GRIND_CAP_REQUEST_(5, space, index, 0, 0, 0)

/* A capability to the object appears at the index, which should have none. */
#define GRIND_CAP_MAP(space, index, object, rights) GRIND_CAP_REQUEST_(6, space, index, object, rights, 0)
/* The same where one may be replaced, on purpose. */
#define GRIND_CAP_OVERMAP(space, index, object, rights) GRIND_CAP_REQUEST_(7, space, index, object, rights, 0)
/* It disappears. */
#define GRIND_CAP_UNMAP(space, index) GRIND_CAP_REQUEST_(8, space, index, 0, 0, 0)

/* The task invokes the capability: speaks `protocol` (0: any) to its object, which takes `rights` (0: none). */
#define GRIND_CAP_INVOKE(space, index, protocol, rights)                                               \
   GRIND_CAP_REQUEST_(9, space, index, protocol, rights, 0)

/* The capability goes with a message: as a copy with these rights at most, or (grant) leaving the sender. */
#define GRIND_CAP_SEND(space, index, message, rights)                                                  \
   GRIND_CAP_REQUEST_(10, space, index, message, rights, 0)
#define GRIND_CAP_GRANT(space, index, message, rights)                                                 \
   GRIND_CAP_REQUEST_(11, space, index, message, rights, 0)
/* The next capability of a message appears at the index, which should have none. */
#define GRIND_CAP_RECEIVE(space, index, message) GRIND_CAP_REQUEST_(12, space, index, message, 0, 0)

#endif
