// Hypercalls of Xen as its tools issue them. Without Xen they go to /dev/null, which refuses them.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "facts.h"

struct hypercall {
  uint64_t op, arg[5];
};
#define PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))

struct domctl {
  uint32_t cmd, interface_version;
  uint16_t domain, padding[3];
  uint8_t u[128];
};

struct sysctl {
  uint32_t cmd, interface_version;
  uint8_t u[128];
};

int main(void) {
  int device = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
  fact("usable %d", device >= 0);
  if (device < 0)
    device = open("/dev/null", O_RDWR | O_CLOEXEC);
  struct domctl pause = {3, 0x15, 7, {0}, {0}}, unknown = {999, 0x15, 8, {0}, {0}};
  struct sysctl physinfo = {3, 0x15, {0}};
  char version[1024] = "";
  struct hypercall calls[] = {
    {36, {(uintptr_t)&pause}},
    {36, {(uintptr_t)&unknown}},
    {35, {(uintptr_t)&physinfo}},
    {12, {19, 0}},
    {17, {1, (uintptr_t)version}},
    {100, {1}},
  };
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
    ioctl(device, PRIVCMD_HYPERCALL, &calls[i]);
  struct {
    int number;
    uint16_t domain;
    void *entries;
  } map = {0, 7, 0};
  ioctl(device, _IOC(_IOC_NONE, 'P', 2, sizeof map), &map);
  return 0;
}
