/* What the kernel knows of descriptors: what each one is of when it appears, which ones messages carry, and
   which ones a call waits for. All else that analyses need stands in the rows of the system calls.
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

/* Of the core: descriptors from here on are the engine's own. */
extern Int VG_(fd_hard_limit);

#define SYS_POLL __NR_poll
#define SYS_PPOLL __NR_ppoll
#define SYS_SELECT __NR_select
#define SYS_PSELECT6 __NR_pselect6

/* Sets of more descriptors are not written down. */
#define MOST_WAITED 1024
#define CLOEXEC 02000000
#define SCM_RIGHTS 1
#define CLONE_PIDFD 0x1000
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030

static void emit_descriptor(UInt thread, ULong call, UChar op, Int descriptor)
{
   HChar link[40], name[4096];
   struct vg_stat st;
   if (descriptor < 0 || descriptor >= VG_(fd_hard_limit) || !recording) return;
   VG_(sprintf)(link, "/proc/self/fd/%d", descriptor);
   Long size = raw_syscall(__NR_readlink, (Addr)link, (Addr)name, sizeof name, 0, 0, 0);
   if (size < 0) return; /* closed already, or no descriptor after all */
   Bool known = VG_(fstat)(descriptor, &st) == 0;
   Long flags = raw_syscall(__NR_fcntl, descriptor, VKI_F_GETFL, 0, 0, 0, 0);
   Long own = raw_syscall(__NR_fcntl, descriptor, VKI_F_GETFD, 0, 0, 0, 0);
   RawDescriptorEvents* r = EMIT(RawDescriptorEvents, TABLE_DESCRIPTOR_EVENTS, size);
   r->tick = now;
   r->thread = thread;
   r->call = call;
   r->op = op;
   r->descriptor = descriptor;
   r->mode = known ? st.mode : 0;
   r->device = known ? st.dev : 0;
   r->inode = known ? st.ino : 0;
   r->flags = (flags < 0 ? 0 : flags) | (own > 0 && (own & VKI_FD_CLOEXEC) ? CLOEXEC : 0);
   r->name_size = size;
   VG_(memcpy)(EXTRA(r), name, size);
}

static Bool is_number(const HChar* text)
{
   for (; *text; text++)
      if (*text < '0' || *text > '9') return False;
   return True;
}

void descriptors_begin(void)
{
   static struct { ULong inode, offset; UShort size; UChar type; HChar name[]; } *entry;
   static UChar entries[8192];
   if (!recording) return;
   Int folder = VG_(fd_open)("/proc/self/fd", VKI_O_RDONLY, 0);
   if (folder < 0) return;
   Long size;
   while ((size = raw_syscall(__NR_getdents64, folder, (Addr)entries, sizeof entries, 0, 0, 0)) > 0)
      for (Long at = 0; at < size; at += entry->size) {
         entry = (void*)(entries + at);
         Int descriptor = VG_(strtoll10)(entry->name, NULL);
         if (is_number(entry->name) && descriptor != folder)
            emit_descriptor(0, 0, DESCRIPTOR_EVENTS_OP_STARTUP, descriptor);
      }
   VG_(close)(folder);
}

/* Descriptors that a message carries (cmsg(3)). */
static void emit_carried(UInt thread, ULong call, UChar op, Addr message)
{
   if (!readable(message, sizeof(struct vki_msghdr))) return;
   const struct vki_msghdr* m = (void*)message;
   Addr at = (Addr)m->msg_control, end = at + m->msg_controllen;
   if (!readable(at, m->msg_controllen)) return;
   while (at + sizeof(struct vki_cmsghdr) <= end) {
      const struct vki_cmsghdr* c = (void*)at;
      if (c->cmsg_len < sizeof *c || c->cmsg_len > end - at) return;
      if (c->cmsg_level == VKI_SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
         for (Addr p = at + sizeof *c; p + sizeof(Int) <= at + c->cmsg_len; p += sizeof(Int))
            emit_descriptor(thread, call, op, *(Int*)p);
      at += (c->cmsg_len + 7) & ~7UL;
   }
}

static void emit_waited(UInt thread, ULong call, const Int* set, UInt count)
{
   RawDescriptorEvents* r = EMIT(RawDescriptorEvents, TABLE_DESCRIPTOR_EVENTS, count * sizeof *set);
   r->tick = now;
   r->thread = thread;
   r->call = call;
   r->op = DESCRIPTOR_EVENTS_OP_WAITED;
   r->descriptor = -1;
   r->set_size = count * sizeof *set;
   VG_(memcpy)(EXTRA(r), set, count * sizeof *set);
}

void descriptors_waited(UInt thread, ULong call, UInt number, const ULong* args)
{
   static Int set[MOST_WAITED];
   UInt count = 0;
   switch (number) {
      case SYS_POLL:
      case SYS_PPOLL: {
         const struct { Int fd; UShort events, revents; }* entries = (void*)args[0];
         if (args[1] > MOST_WAITED || !readable(args[0], args[1] * sizeof *entries)) return;
         for (UInt i = 0; i < args[1]; i++)
            if (entries[i].fd >= 0) set[count++] = entries[i].fd;
         break;
      }
      case SYS_SELECT:
      case SYS_PSELECT6:
         for (UInt fd = 0; fd < VG_MIN(args[0], MOST_WAITED); fd++)
            for (UInt i = 1; i <= 3; i++)
               if (readable(args[i] + fd / 8, 1) && ((UChar*)args[i])[fd / 8] >> fd % 8 & 1) {
                  set[count++] = fd;
                  break;
               }
         break;
   }
   if (count) emit_waited(thread, call, set, count);
}

static Bool is_among(UInt number, const UInt* list, UInt count)
{
   for (UInt i = 0; i < count; i++)
      if (list[i] == number) return True;
   return False;
}
#define IS_AMONG(number, list) is_among(number, list, sizeof(list) / sizeof *(list))

void descriptors_after(UInt thread, ULong call, UInt number, const ULong* args, Long result)
{
   static const UInt giving_calls[] = { GRIND_GIVING_CALLS }, giving_ioctls[] = { GRIND_GIVING_IOCTLS };
   Addr pair = 0;
   switch (number) {
      case __NR_pipe:
      case __NR_pipe2: pair = args[0]; break;
      case __NR_socketpair: pair = args[3]; break;
      case __NR_sendmsg: return emit_carried(thread, call, DESCRIPTOR_EVENTS_OP_SENT, args[1]);
      case __NR_recvmsg: return emit_carried(thread, call, DESCRIPTOR_EVENTS_OP_RECEIVED, args[1]);
      case __NR_sendmmsg:
      case __NR_recvmmsg:
         for (Long i = 0; i < result; i++)
            emit_carried(thread, call,
                         number == __NR_sendmmsg ? DESCRIPTOR_EVENTS_OP_SENT : DESCRIPTOR_EVENTS_OP_RECEIVED,
                         args[1] + i * sizeof(struct vki_mmsghdr));
         return;
      case __NR_fcntl:
         if (args[1] == F_DUPFD || args[1] == F_DUPFD_CLOEXEC)
            emit_descriptor(thread, call, DESCRIPTOR_EVENTS_OP_OPENED, result);
         return;
      case __NR_ioctl:
         if (IS_AMONG(args[1], giving_ioctls)) emit_descriptor(thread, call, DESCRIPTOR_EVENTS_OP_OPENED, result);
         return;
      case __NR_clone:
         if (args[0] & CLONE_PIDFD && readable(args[2], sizeof(Int)))
            emit_descriptor(thread, call, DESCRIPTOR_EVENTS_OP_OPENED, *(Int*)args[2]);
         return;
      default:
         if (IS_AMONG(number, giving_calls)) emit_descriptor(thread, call, DESCRIPTOR_EVENTS_OP_OPENED, result);
         return;
   }
   if (!readable(pair, 2 * sizeof(Int))) return;
   for (UInt i = 0; i < 2; i++) emit_descriptor(thread, call, DESCRIPTOR_EVENTS_OP_OPENED, ((Int*)pair)[i]);
}
