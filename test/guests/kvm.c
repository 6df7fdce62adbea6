// A virtual machine by /dev/kvm: 16-bit code that doubles a number in its memory, which the program then reads.
// Without the device the same requests go to /dev/null, which refuses them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "facts.h"

enum { SIZE = 0x10000, CODE = 0x1000, DATA = 0x2000, PORT = 0x10 };

int main(void) {
  // mov ax, [DATA]; add ax, ax; mov [DATA], ax; out PORT, al; hlt
  static const uint8_t code[] = {0xa1, 0x00, 0x20, 0x01, 0xc0, 0xa3, 0x00, 0x20, 0xe6, PORT, 0xf4};
  int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  int usable = device >= 0 && ioctl(device, KVM_GET_API_VERSION, 0) == KVM_API_VERSION;
  fact("usable %d", usable);
  if (!usable)
    device = open("/dev/null", O_RDWR | O_CLOEXEC);
  int machine = ioctl(device, KVM_CREATE_VM, 0);
  if (machine < 0)
    machine = device;
  uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(memory + CODE, code, sizeof code);
  memory[DATA] = 21;
  struct kvm_userspace_memory_region region = {.memory_size = SIZE, .userspace_addr = (uintptr_t)memory};
  fact("region %lx", (long)memory);
  fact("given %d", ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) == 0);
  int cpu = ioctl(machine, KVM_CREATE_VCPU, 0);
  if (cpu < 0)
    cpu = machine;
  int size = ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
  // The kernel writes as many entries as it says, far beyond the structure that the request names.
  static struct {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[256];
  } known = {.head.nent = 256};
  fact("cpuid %d", ioctl(device, KVM_GET_SUPPORTED_CPUID, &known) == 0);
  struct kvm_sregs special = {0};
  ioctl(cpu, KVM_GET_SREGS, &special);
  special.cs.base = special.cs.selector = special.ds.base = special.ds.selector = 0;
  ioctl(cpu, KVM_SET_SREGS, &special);
  struct kvm_regs registers = {.rip = CODE, .rflags = 2};
  ioctl(cpu, KVM_SET_REGS, &registers);
  if (usable) {
    struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    ioctl(cpu, KVM_RUN, 0);
    fact("exit %d %d %d", run->exit_reason, run->io.port, *((uint8_t *)run + run->io.data_offset));
    fact("doubled %d", memory[DATA]);
    ioctl(cpu, KVM_RUN, 0);
    fact("last %d", run->exit_reason);
  } else {
    ioctl(cpu, KVM_RUN, 0);
  }
  long sum = 0;
  for (unsigned i = 0; i < known.head.nent; i++)
    sum += known.entries[i].function;
  fact("functions %lx", sum);
  ioctl(device, _IOWR('k', 7, int[4]), 0);
  return 0;
}
