/**
 * What system calls do with descriptors: which arguments are descriptors and what an object must be for the call to make
 * sense, and which calls give one. The recorder's tool has from here which results it is to ask the kernel about.
 */
import { syscallNumber } from './syscalls.js';

/** What sort of object a descriptor is of. */
export const OBJECT_KINDS = [
  'unknown',
  'file',
  'directory',
  'device',
  'pipe',
  'socket',
  'eventfd',
  'epoll',
  'timerfd',
  'signalfd',
  'memfd',
  'inotify',
  'fanotify',
  'userfaultfd',
  'io_uring',
  'pidfd',
  'mqueue',
  'kvm',
  'other',
] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

/**
 * What a call needs: one of these, or the kind of object. `at` is a folder that a path begins in, `close` ends the
 * descriptor.
 */
export type Need =
  'any' | 'read' | 'write' | 'seek' | 'map' | 'at' | 'close' | 'ioctl' | ObjectKind;

export interface DescriptorUse {
  /** Number of the argument, from 0. */
  readonly argument: number;
  readonly need: Need;
  /** Programs make the call to find out what a descriptor is: that it fails is no mistake. */
  readonly isProbe: boolean;
}

export interface DescriptorCall {
  readonly name: string;
  readonly uses: readonly DescriptorUse[];
  /** The result is a new descriptor, of this kind; `unknown` when the call does not tell. */
  readonly gives: ObjectKind | undefined;
}

/**
 * One call a word: its name, then `argument:need` for each descriptor (a `?` marks a probe), and `>kind` when the result is
 * one. Calls whose descriptors lie in memory, or that give or end several, are known to their readers: pipe, socketpair,
 * close_range, poll, select, sendmsg and recvmsg.
 */
const CALLS = `
  open>unknown  creat>file  openat,1:at>unknown  openat2,1:at>unknown  open_by_handle_at,1:any>unknown  close,1:close
  read,1:read  pread64,1:read  readv,1:read  preadv,1:read  preadv2,1:read  readahead,1:read
  write,1:write  pwrite64,1:write  writev,1:write  pwritev,1:write  pwritev2,1:write  ftruncate,1:write  fallocate,1:write
  sendfile,1:write,2:read  splice,1:read,3:write  tee,1:read,2:write  vmsplice,1:any  copy_file_range,1:read,3:write
  lseek,1:seek  mmap,5:map  ioctl,1:ioctl  fcntl,1:any  flock,1:any  fsync,1:any  fdatasync,1:any  syncfs,1:any
  fstat,1:any  fstatfs,1:any  fchmod,1:any  fchown,1:any  fadvise64,1:any  sync_file_range,1:any  cachestat,1:any
  fsetxattr,1:any  fgetxattr,1:any  flistxattr,1:any  fremovexattr,1:any
  getdents,1:directory  getdents64,1:directory  fchdir,1:directory
  mkdirat,1:at  mknodat,1:at  fchownat,1:at  futimesat,1:at  newfstatat,1:at  unlinkat,1:at  renameat,1:at,3:at
  renameat2,1:at,3:at  linkat,1:at,3:at  symlinkat,2:at  readlinkat,1:at  fchmodat,1:at  fchmodat2,1:at  faccessat,1:at
  faccessat2,1:at  utimensat,1:at  statx,1:at  name_to_handle_at,1:at  execveat,1:at  mount_setattr,1:at
  dup,1:any>unknown  dup2,1:any>unknown  dup3,1:any>unknown
  socket>socket  accept,1:socket>socket  accept4,1:socket>socket  connect,1:socket  bind,1:socket  listen,1:socket
  sendto,1:socket  recvfrom,1:socket  sendmsg,1:socket  recvmsg,1:socket  sendmmsg,1:socket  recvmmsg,1:socket
  shutdown,1:socket  getsockname,1:socket?  getpeername,1:socket?  getsockopt,1:socket?  setsockopt,1:socket?
  epoll_create>epoll  epoll_create1>epoll  epoll_wait,1:epoll  epoll_pwait,1:epoll  epoll_pwait2,1:epoll
  epoll_ctl,1:epoll,3:any?
  eventfd>eventfd  eventfd2>eventfd  signalfd>signalfd  signalfd4>signalfd
  timerfd_create>timerfd  timerfd_settime,1:timerfd  timerfd_gettime,1:timerfd
  memfd_create>memfd  memfd_secret>memfd  userfaultfd>userfaultfd
  inotify_init>inotify  inotify_init1>inotify  inotify_add_watch,1:inotify  inotify_rm_watch,1:inotify
  fanotify_init>fanotify  fanotify_mark,1:fanotify
  mq_open>mqueue  mq_timedsend,1:mqueue  mq_timedreceive,1:mqueue  mq_notify,1:mqueue  mq_getsetattr,1:mqueue
  io_uring_setup>io_uring  io_uring_enter,1:io_uring  io_uring_register,1:io_uring
  pidfd_open>pidfd  pidfd_getfd,1:pidfd>unknown  pidfd_send_signal,1:pidfd  process_madvise,1:pidfd  process_mrelease,1:pidfd
  perf_event_open>other  landlock_create_ruleset>other  landlock_add_rule,1:any  setns,1:any  finit_module,1:any
  fsopen>other  fsconfig,1:any  fsmount,1:any>other  fspick,1:at>other  open_tree,1:at>unknown  move_mount,1:at,3:at
`;

/** By number of the system call. */
export const DESCRIPTOR_CALLS: ReadonlyMap<number, DescriptorCall> = new Map(
  CALLS.trim()
    .split(/\s+/)
    .map((text) => {
      const [, name = '', uses = '', gives] = /^(\w+)([^>]*)(?:>(\w+))?$/.exec(text) ?? [];
      return [
        syscallNumber(name),
        {
          name,
          uses: uses.split(',').slice(1).map(useOf),
          gives: gives as ObjectKind | undefined,
        },
      ];
    }),
);

function useOf(text: string): DescriptorUse {
  const [argument, need] = text.split(':');
  return {
    argument: Number(argument) - 1,
    need: need!.replace('?', '') as Need,
    isProbe: need!.endsWith('?'),
  };
}

/** Requests of ioctl whose result is a descriptor, by number, from the kernel's headers. */
export const GIVING_IOCTLS: Readonly<Record<string, number>> = {
  KVM_CREATE_VM: 0xae01,
  KVM_CREATE_VCPU: 0xae41,
  KVM_GET_STATS_FD: 0xaece,
  KVM_CREATE_GUEST_MEMFD: 0xc040aed4,
  TIOCGPTPEER: 0x5441,
  NS_GET_USERNS: 0xb701,
  NS_GET_PARENT: 0xb702,
  USERFAULTFD_IOC_NEW: 0xaa00,
  VFIO_GROUP_GET_DEVICE_FD: 0x3b6a,
};
