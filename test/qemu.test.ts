/**
 * QEMU from the distribution starts a small machine under record: by its own translator, and with /dev/kvm. Skipped
 * where qemu-system-x86_64 is not installed (it is large), or the device cannot be used.
 */
import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { findProgram } from '../recorder/build.js';
import { record, ROOT, run, scratch } from './guest.js';

const QEMU = findProgram('qemu-system-x86_64');

function canUse(device: string): boolean {
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The status with which QEMU ends when the machine writes 0x10 to isa-debug-exit. */
const RIGHT = (0x10 << 1) | 1;

describe('QEMU', { skip: !QEMU && 'qemu-system-x86_64 is not installed' }, () => {
  const machine = (accelerator: string): string[] => {
    const image = scratch('firmware.bin');
    const source = join(ROOT, 'test', 'guests', 'firmware.S');
    const flags = ['-nostdlib', '-static', '-Wl,--oformat=binary,-Ttext=0,--build-id=none,-e0'];
    const compiled = run(['gcc', '-m32', ...flags, source, '-o', image]);
    assert.equal(compiled.status, 0, compiled.stderr);
    return [
      ...[QEMU!, '-accel', accelerator, '-bios', image],
      ...['-display', 'none', '-nodefaults', '-no-user-config'],
      ...['-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4'],
    ];
  };

  test('its own translator: code made while it runs, several threads, io_uring', () => {
    const recording = record(machine('tcg'));
    assert.deepEqual([recording.stdout, recording.status], ['booted\n', RIGHT], recording.stderr);
  });

  const noKvm = !canUse('/dev/kvm') && '/dev/kvm cannot be used';
  test('with /dev/kvm: requests by name, memory shared with the machine', { skip: noKvm }, () => {
    const recording = record(machine('kvm'));
    assert.deepEqual([recording.stdout, recording.status], ['booted\n', RIGHT], recording.stderr);
    const runs = recording.row(
      `select count(*) > 0 as any_run, min(family) as family from ioctls where name = 'KVM_RUN'`,
    );
    assert.deepEqual(runs, { any_run: true, family: 'kvm-vcpu' });
    assert.equal(
      recording.cell(`select count(*) from ioctls where name is null and type = 174 /* KVM */`),
      0n,
    );
    assert.equal(
      recording.cell(`select count(*) > 0 from mappings where op = 'mprotect' and shared`),
      true,
    );
  });
});
