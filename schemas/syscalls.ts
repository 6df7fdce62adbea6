/** Names of the system calls, errors and signals of Linux on amd64, by number. */
import { constants } from 'node:os';

/** By number; numbers that Linux does not use are empty. */
export const SYSCALL_NAMES: readonly string[] = (
  'read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction ' +
  'rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield ' +
  'mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm ' +
  'setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind ' +
  'listen getsockname getpeername socketpair setsockopt getsockopt clone fork vfork execve exit ' +
  'wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync ' +
  'fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink ' +
  'symlink readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit getrusage ' +
  'sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid setpgid getppid ' +
  'getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid ' +
  'getpgid setfsuid setfsgid getsid capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo ' +
  'rt_sigsuspend sigaltstack utime mknod uselib personality ustat statfs fstatfs sysfs ' +
  'getpriority setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler ' +
  'sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock mlockall ' +
  'munlockall vhangup modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex setrlimit chroot ' +
  'sync acct settimeofday mount umount2 swapon swapoff reboot sethostname setdomainname iopl ' +
  'ioperm create_module init_module delete_module get_kernel_syms query_module quotactl ' +
  'nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid readahead setxattr lsetxattr ' +
  'fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr ' +
  'lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity set_thread_area ' +
  'io_setup io_destroy io_getevents io_submit io_cancel get_thread_area lookup_dcookie ' +
  'epoll_create epoll_ctl_old epoll_wait_old remap_file_pages getdents64 set_tid_address ' +
  'restart_syscall semtimedop fadvise64 timer_create timer_settime timer_gettime timer_getoverrun ' +
  'timer_delete clock_settime clock_gettime clock_getres clock_nanosleep exit_group epoll_wait ' +
  'epoll_ctl tgkill utimes vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink ' +
  'mq_timedsend mq_timedreceive mq_notify mq_getsetattr kexec_load waitid add_key request_key ' +
  'keyctl ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages ' +
  'openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat ' +
  'readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice ' +
  'tee sync_file_range vmsplice move_pages utimensat epoll_pwait signalfd timerfd_create eventfd ' +
  'fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 ' +
  'inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init ' +
  'fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg ' +
  'setns getcpu process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr ' +
  'renameat2 seccomp getrandom memfd_create kexec_file_load bpf execveat userfaultfd membarrier ' +
  'mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents ' +
  'rseq'
)
  .split(' ')
  .concat(Array<string>(424 - 335).fill(''))
  .concat(
    (
      'pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen ' +
      'fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 ' +
      'process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset ' +
      'landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv ' +
      'set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait ' +
      'futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal'
    ).split(' '),
  );

/** Error names by number. */
export const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  (
    '1:EPERM 2:ENOENT 3:ESRCH 4:EINTR 5:EIO 6:ENXIO 7:E2BIG 8:ENOEXEC 9:EBADF 10:ECHILD 11:EAGAIN ' +
    '12:ENOMEM 13:EACCES 14:EFAULT 15:ENOTBLK 16:EBUSY 17:EEXIST 18:EXDEV 19:ENODEV 20:ENOTDIR ' +
    '21:EISDIR 22:EINVAL 23:ENFILE 24:EMFILE 25:ENOTTY 26:ETXTBSY 27:EFBIG 28:ENOSPC 29:ESPIPE ' +
    '30:EROFS 31:EMLINK 32:EPIPE 33:EDOM 34:ERANGE 35:EDEADLK 36:ENAMETOOLONG 37:ENOLCK 38:ENOSYS ' +
    '39:ENOTEMPTY 40:ELOOP 42:ENOMSG 43:EIDRM 44:ECHRNG 45:EL2NSYNC 46:EL3HLT 47:EL3RST 48:ELNRNG ' +
    '49:EUNATCH 50:ENOCSI 51:EL2HLT 52:EBADE 53:EBADR 54:EXFULL 55:ENOANO 56:EBADRQC 57:EBADSLT ' +
    '59:EBFONT 60:ENOSTR 61:ENODATA 62:ETIME 63:ENOSR 64:ENONET 65:ENOPKG 66:EREMOTE 67:ENOLINK ' +
    '68:EADV 69:ESRMNT 70:ECOMM 71:EPROTO 72:EMULTIHOP 73:EDOTDOT 74:EBADMSG 75:EOVERFLOW ' +
    '76:ENOTUNIQ 77:EBADFD 78:EREMCHG 79:ELIBACC 80:ELIBBAD 81:ELIBSCN 82:ELIBMAX 83:ELIBEXEC ' +
    '84:EILSEQ 85:ERESTART 86:ESTRPIPE 87:EUSERS 88:ENOTSOCK 89:EDESTADDRREQ 90:EMSGSIZE ' +
    '91:EPROTOTYPE 92:ENOPROTOOPT 93:EPROTONOSUPPORT 94:ESOCKTNOSUPPORT 95:EOPNOTSUPP ' +
    '96:EPFNOSUPPORT 97:EAFNOSUPPORT 98:EADDRINUSE 99:EADDRNOTAVAIL 100:ENETDOWN 101:ENETUNREACH ' +
    '102:ENETRESET 103:ECONNABORTED 104:ECONNRESET 105:ENOBUFS 106:EISCONN 107:ENOTCONN ' +
    '108:ESHUTDOWN 109:ETOOMANYREFS 110:ETIMEDOUT 111:ECONNREFUSED 112:EHOSTDOWN 113:EHOSTUNREACH ' +
    '114:EALREADY 115:EINPROGRESS 116:ESTALE 117:EUCLEAN 118:ENOTNAM 119:ENAVAIL 120:EISNAM ' +
    '121:EREMOTEIO 122:EDQUOT 123:ENOMEDIUM 124:EMEDIUMTYPE 125:ECANCELED 126:ENOKEY ' +
    '127:EKEYEXPIRED 128:EKEYREVOKED 129:EKEYREJECTED 130:EOWNERDEAD 131:ENOTRECOVERABLE ' +
    '132:ERFKILL 133:EHWPOISON 512:ERESTARTSYS 513:ERESTARTNOINTR 514:ERESTARTNOHAND ' +
    '516:ERESTART_RESTARTBLOCK'
  )
    .split(' ')
    .map((pair) => [Number.parseInt(pair), pair.slice(pair.indexOf(':') + 1)]),
);

/** Number of a system call by its name. */
export function syscallNumber(name: string): number {
  const number = SYSCALL_NAMES.indexOf(name);
  if (number < 0) throw new Error(`there is no system call ${name}`);
  return number;
}

/** `SIGSEGV` and the like. */
export function signalName(signal: number): string {
  const name = Object.entries(constants.signals).find(([, number]) => number === signal)?.[0];
  return name ?? `signal ${signal}`;
}
