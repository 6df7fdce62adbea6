/** Names of ioctl requests, what programs pass, and what ioctls do to memory that the engine does not tell of. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { ioctlNumber, ioctlParts, knownIoctls, parseIoctls } from '../schemas/ioctls.js';
import { UserError } from '../schemas/errors.js';
import { compile, grind, record, run, scratch, type Recording } from './guest.js';
import { randomOf } from './random.js';

/** What the compiler makes of names in a kernel header. */
function numbersOf(header: string, names: readonly string[]): Map<string, number> {
  const source = scratch('numbers.c');
  const prints = names.map((name) => `printf("%u\\n", (unsigned)(${name}));`);
  writeFileSync(
    source,
    `#include <stdio.h>\n#include <sys/ioctl.h>\n#include <${header}>\nint main(void) { ${prints.join(' ')} }\n`,
  );
  const program = `${source}.out`;
  assert.equal(run(['gcc', '-w', source, '-o', program]).status, 0);
  const numbers = run([program]).stdout.trim().split('\n').map(Number);
  return new Map(names.map((name, i) => [name, numbers[i]!]));
}

test('names stand for the numbers that the kernel headers give them', () => {
  const some: readonly [string, readonly string[]][] = [
    ['linux/kvm.h', ['KVM_CREATE_VM', 'KVM_SET_USER_MEMORY_REGION', 'KVM_RUN', 'KVM_GET_XSAVE']],
    ['sys/ioctl.h', ['TCGETS', 'TIOCGWINSZ', 'FIONREAD', 'FIOCLEX', 'SIOCGIFCONF']],
    ['linux/fs.h', ['BLKGETSIZE64', 'FS_IOC_GETFLAGS', 'FICLONE']],
    ['linux/vhost.h', ['VHOST_SET_OWNER', 'VHOST_SET_MEM_TABLE']],
    ['linux/userfaultfd.h', ['UFFDIO_COPY', 'UFFDIO_API']],
    ['linux/if_tun.h', ['TUNSETIFF']],
  ];
  const known = knownIoctls();
  for (const [header, names] of some)
    for (const [name, number] of numbersOf(header, names))
      assert.equal(known.get(number)?.name, name, header);
});

test('a request is the sum of its parts', () => {
  const seed = Date.now() >>> 0;
  const random = randomOf(seed);
  for (let i = 0; i < 1000; i++) {
    const request = random(2 ** 32);
    assert.equal(ioctlNumber(ioctlParts(request)), request, `seed ${seed}`);
  }
});

test("a user's table: both forms, comments, and lines that are neither", () => {
  const table = parseIoctls(
    "# mine\n0xae01 KVM_CREATE_VM kvm\n\nboth 'k' 7 16 MINE_SEND mine # here\nnone 0x50 0 48 HYPERCALL\n17 OLD\n",
    'table',
  );
  assert.deepEqual(
    [...table],
    [
      [0xae01, { name: 'KVM_CREATE_VM', family: 'kvm' }],
      [0xc010_6b07, { name: 'MINE_SEND', family: 'mine' }],
      [0x30_5000, { name: 'HYPERCALL', family: '' }],
      [17, { name: 'OLD', family: '' }],
    ],
  );
  for (const line of [
    'KVM_RUN',
    'up k 1 2 X',
    "read 'k' 256 4 X",
    'read 1 1 16384 X',
    '0x100000000 X',
  ])
    assert.throws(
      () => parseIoctls(`# \n${line}`, 'table'),
      (error) => error instanceof UserError && error.message.startsWith('table:2 '),
      line,
    );
});

const called = (recording: Recording) =>
  recording
    .query(`select name, family, direction, size from ioctls where name is not null order by call`)
    .map((row) => Object.values(row));

test('a virtual machine by /dev/kvm: requests by name, and the memory that it writes', () => {
  const recording = record(['kvm.c']);
  const { facts } = recording;
  assert.equal(recording.status, 0, recording.stderr);
  const usable = facts.int('usable') === 1n;
  const asked = called(recording);
  assert.deepEqual(asked.slice(usable ? 0 : -10).slice(0, 4), [
    ...(usable ? [['KVM_GET_API_VERSION', 'kvm', 'none', 0n]] : []),
    ['KVM_CREATE_VM', 'kvm', 'none', 0n],
    ['KVM_SET_USER_MEMORY_REGION', 'kvm-vm', 'write', 32n],
    ['KVM_CREATE_VCPU', 'kvm-vm', 'none', 0n],
    ...(usable ? [] : [['KVM_GET_VCPU_MMAP_SIZE', 'kvm', 'none', 0n]]),
  ]);
  // What was passed: slot and flags, place in the machine, size, place in the program.
  const passed = recording.cell(`select hex(bytes) from syscall_contents
    join ioctls using (process, call) where name = 'KVM_SET_USER_MEMORY_REGION'`);
  const words = Buffer.from(String(passed), 'hex');
  assert.deepEqual(
    [0, 8, 16, 24].map((at) => words.readBigUInt64LE(at)),
    [0n, 0n, 0x10000n, facts.hex('region')],
  );
  if (!usable) return;
  assert.deepEqual(facts.one('exit'), ['2', '16', '42']);
  assert.equal(facts.int('doubled'), 42n);
  const region = facts.hex('region');
  assert.equal(
    recording.cell(`select count(*) from mappings where op = 'mprotect' and shared
      and address = ${region} and size = 65536`),
    1n,
  );
  assert.equal(
    recording.cell(
      `select count(*) from accesses where kind = 'load' and addr = ${region + 0x2000n} and value = 42`,
    ),
    1n,
  );
  // Entries beyond the structure that the request names.
  assert.ok(
    (recording.cell(`select max(m.size) from syscall_memory m join ioctls i using (process, call)
      where i.name = 'KVM_GET_SUPPORTED_CPUID' and m.direction = 'write'`) as bigint) > 40n,
  );
});

test("Xen's hypercalls by name, with their operations and domains", () => {
  const recording = record(['privcmd.c']);
  assert.deepEqual(
    recording
      .query(`select hypercall, operation, domain from ioctls where family = 'xen' order by call`)
      .map((row) => Object.values(row)),
    [
      ['domctl', 'pausedomain', 7n],
      ['domctl', '999', 8n],
      ['sysctl', 'physinfo', null],
      ['memory_op', 'get_sharing_shared_pages', null],
      ['xen_version', 'extraversion', null],
      ['100', null, null],
      [null, null, null],
    ],
  );
  assert.deepEqual(
    recording.query(`select distinct ioctl from syscalls where name = 'ioctl' order by all`),
    [{ ioctl: 'IOCTL_PRIVCMD_HYPERCALL' }, { ioctl: 'IOCTL_PRIVCMD_MMAP' }],
  );
});

test("names of the user's own stand beside the runs", () => {
  const folder = scratch('runs');
  mkdirSync(folder);
  const recorded = grind(['record', '--quiet', '--out', folder, '--', compile('kvm.c')]);
  assert.equal(recorded.status, 0, recorded.stderr);
  const named = () =>
    grind([
      'query',
      '--out',
      folder,
      `select name, family from ioctls where request = 0xc0106b07`,
      '--format=csv',
    ]);
  assert.equal(named().stdout.split('\n')[1], ',');
  writeFileSync(join(folder, 'ioctls'), "both 'k' 7 16 MINE_SEND mine\n");
  assert.equal(named().stdout.split('\n')[1], 'MINE_SEND,mine');
  writeFileSync(join(folder, 'ioctls'), 'nonsense\n');
  const refused = named();
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /ioctls:1 names no ioctl/);
});
