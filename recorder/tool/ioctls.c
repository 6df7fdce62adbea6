/* What the engine does not know of ioctl: memory that the kernel writes beyond the structure named by the
   request, memory that it lets others write from then on, and what the program passed.
   Facts as in the kernel's linux/kvm.h, linux/vfio.h, linux/vhost.h, linux/userfaultfd.h and xen/privcmd.h.
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

#define DIRECTION_WRITE 1u /* the program gives the structure to the kernel */
#define DIRECTION(request) ((request) >> 30)
#define STRUCTURE_SIZE(request) ((request) >> 16 & 0x3fff)
#define TYPE(request) ((request) >> 8 & 0xff)

/* Of what is passed, so much is kept. */
#define CONTENTS_LIMIT 256u

#define KVM_GET_MSR_INDEX_LIST 0xc004ae02u
#define KVM_GET_SUPPORTED_CPUID 0xc008ae05u
#define KVM_GET_EMULATED_CPUID 0xc008ae09u
#define KVM_GET_MSR_FEATURE_INDEX_LIST 0xc004ae0au
#define KVM_SET_USER_MEMORY_REGION 0x4020ae46u
#define KVM_SET_USER_MEMORY_REGION2 0x40a0ae49u
#define KVM_GET_MSRS 0xc008ae88u
#define KVM_GET_CPUID2 0xc008ae91u
#define KVM_GET_ONE_REG 0x4010aeabu
#define KVM_GET_REG_LIST 0xc008aeb0u
#define KVM_GET_NESTED_STATE 0xc080aebeu
#define KVM_GET_SUPPORTED_HV_CPUID 0xc008aec1u
#define KVM_GET_DEVICE_ATTR 0x4018aee2u
#define VFIO_IOMMU_MAP_DMA 0x3b71u
#define VHOST_SET_MEM_TABLE 0x4008af03u
#define UFFDIO_COPY 0xc028aa03u
#define UFFDIO_ZEROPAGE 0xc020aa04u
#define PRIVCMD_HYPERCALL 0x305000u

/* ---------------------------------------------------------------- what is passed */

static void emit_contents(UInt thread, ULong call, Addr address, SizeT size)
{
   UInt n = VG_MIN(size, CONTENTS_LIMIT);
   if (n == 0 || address == 0 || !readable(address, n)) return;
   RawSyscallContents* r = EMIT(RawSyscallContents, TABLE_SYSCALL_CONTENTS, n);
   r->tick = now;
   r->thread = thread;
   r->call = call;
   r->address = address;
   r->bytes_size = n;
   VG_(memcpy)(EXTRA(r), (void*)address, n);
}

/* Size of struct xen_domctl and xen_sysctl; others are shorter. */
#define OPERATION_SIZE 144

/* A hypercall's number and arguments; which of these points to its operation, from 1; 0 when none does. */
static UInt operation_argument(ULong number)
{
   switch (number) {
      case 7 /* platform_op */:
      case 26 /* mmuext_op */:
      case 27 /* xsm_op */:
      case 35 /* sysctl */:
      case 36 /* domctl */: return 1;
      case 12 /* memory_op */:
      case 17 /* xen_version */:
      case 20 /* grant_table_op */:
      case 29 /* sched_op */:
      case 32 /* event_channel_op */:
      case 33 /* physdev_op */:
      case 34 /* hvm_op */:
      case 37 /* kexec_op */: return 2;
      case 24 /* vcpu_op */: return 3;
      default: return 0;
   }
}

void ioctl_before(UInt thread, ULong call, const ULong* args)
{
   UInt request = args[1], size = STRUCTURE_SIZE(request);
   Addr structure = args[2];
   /* Those of Xen's devices say no direction. */
   Bool passes = DIRECTION(request) & DIRECTION_WRITE || (DIRECTION(request) == 0 && TYPE(request) == 'P');
   if (passes) emit_contents(thread, call, structure, size);
   if (request != PRIVCMD_HYPERCALL || !readable(structure, size)) return;
   const ULong* hypercall = (const ULong*)structure;
   UInt which = operation_argument(hypercall[0]);
   if (which == 0) return;
   Addr operation = hypercall[which];
   SizeT n = OPERATION_SIZE;
   while (n > 8 && !readable(operation, n)) n /= 2;
   emit_contents(thread, call, operation, n);
}

/* ---------------------------------------------------------------- what becomes of memory */

/* Entries that follow a structure, which begins with their number. */
static void emit_entries(ThreadId tid, Addr structure, UInt header, UInt entry)
{
   if (readable(structure, 4)) emit_written(tid, structure, header + (SizeT)*(UInt*)structure * entry);
}

void ioctl_after(ThreadId tid, const ULong* args, UWord error)
{
   UInt request = args[1], size = STRUCTURE_SIZE(request);
   Addr structure = args[2];
   const ULong* words = (const ULong*)structure;
   if (size == 0) size = 40; /* VFIO's do not say it */
   if (TYPE(request) != 0xae && TYPE(request) != 0xaf && TYPE(request) != 0xaa && TYPE(request) != ';') return;
   if (error) {
      /* There was no room: it says how much it takes. */
      if (error == VKI_E2BIG) emit_written(tid, structure, size);
      return;
   }
   switch (request) {
      case KVM_GET_MSR_INDEX_LIST:
      case KVM_GET_MSR_FEATURE_INDEX_LIST: emit_entries(tid, structure, 4, 4); return;
      case KVM_GET_SUPPORTED_CPUID:
      case KVM_GET_EMULATED_CPUID:
      case KVM_GET_SUPPORTED_HV_CPUID:
      case KVM_GET_CPUID2: emit_entries(tid, structure, 8, 40); return;
      case KVM_GET_MSRS: emit_entries(tid, structure, 8, 16); return;
      case KVM_GET_REG_LIST: emit_entries(tid, structure, 8, 8); return;
   }
   if (!readable(structure, size)) return;
   switch (request) {
      case KVM_GET_NESTED_STATE: emit_written(tid, structure, ((UInt*)words)[1]); return;
      case KVM_GET_ONE_REG: emit_written(tid, words[1], 1UL << (words[0] >> 52 & 15)); return;
      case KVM_GET_DEVICE_ATTR: emit_written(tid, words[2], 8); return; /* all that x86 has */
      /* A virtual machine or a device can write there. */
      case KVM_SET_USER_MEMORY_REGION:
      case KVM_SET_USER_MEMORY_REGION2: emit_shared(tid, words[3], words[2]); return;
      case VFIO_IOMMU_MAP_DMA: emit_shared(tid, words[1], words[3]); return;
      case VHOST_SET_MEM_TABLE:
         for (UInt i = 0; i < (UInt)words[0] && readable(structure, 8 + 32 * (i + 1)); i++)
            emit_shared(tid, words[1 + 4 * i + 2], words[1 + 4 * i + 1]);
         return;
      case UFFDIO_COPY: emit_written(tid, words[0], words[2]); return;
      case UFFDIO_ZEROPAGE: emit_written(tid, words[0], words[1]); return;
   }
}
