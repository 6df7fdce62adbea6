/** What the recorder wants to know of ELF files: what kind they are, and their build-id. */
import { closeSync, openSync, readSync } from 'node:fs';

const PT_NOTE = 4;
const NT_GNU_BUILD_ID = 3;
const EM_X86_64 = 62;
const ET_EXEC = 2;
const ET_DYN = 3;
const PROGRAM_HEADER_SIZE = 56;
const MAX_NOTES_BYTES = 1 << 20;

export type ProgramKind =
  | 'elf64-x86-64'
  /** An ELF file that is not a program for Linux on x86-64, such as a 32-bit one. */
  | 'other-elf'
  | 'script'
  | 'unknown';

/** Looks at a file's first bytes. Throws when it cannot be read. */
export function programKind(path: string): ProgramKind {
  const head = readAt(path, 0, 64);
  if (head.length >= 2 && head.toString('latin1', 0, 2) === '#!') return 'script';
  if (head.length < 20 || head.readUInt32BE(0) !== 0x7f454c46) return 'unknown';
  const is64LittleEndian = head[4] === 2 && head[5] === 1;
  if (!is64LittleEndian || head.readUInt16LE(18) !== EM_X86_64) return 'other-elf';
  return [ET_EXEC, ET_DYN].includes(head.readUInt16LE(16)) ? 'elf64-x86-64' : 'other-elf';
}

/** The interpreter that a script's first line names. */
export function scriptInterpreter(path: string): string {
  const line = readAt(path, 0, 256).toString('utf8').split('\n')[0]!;
  return line.slice(2).trim().split(/\s/)[0] ?? '';
}

/** The build-id of an ELF file in hexadecimal; undefined when it has none or cannot be read. */
export function buildId(path: string): string | undefined {
  try {
    if (programKind(path) !== 'elf64-x86-64') return undefined;
    const header = readAt(path, 0, 64);
    const size = header.readUInt16LE(54);
    if (size !== PROGRAM_HEADER_SIZE) return undefined;
    const table = readAt(path, Number(header.readBigUInt64LE(32)), size * header.readUInt16LE(56));
    for (let at = 0; at + size <= table.length; at += size) {
      if (table.readUInt32LE(at) !== PT_NOTE) continue;
      const length = Math.min(Number(table.readBigUInt64LE(at + 32)), MAX_NOTES_BYTES);
      const notes = readAt(path, Number(table.readBigUInt64LE(at + 8)), length);
      const found = findBuildId(notes, table.readBigUInt64LE(at + 48) === 8n ? 8 : 4);
      if (found) return found;
    }
  } catch {
    // Deleted since, not readable, or not quite an ELF file: then it has no build-id for us.
  }
  return undefined;
}

function findBuildId(notes: Buffer, alignment: number): string | undefined {
  const aligned = (size: number): number => Math.ceil(size / alignment) * alignment;
  for (let at = 0; at + 12 <= notes.length;) {
    const nameSize = notes.readUInt32LE(at);
    const descriptionSize = notes.readUInt32LE(at + 4);
    const type = notes.readUInt32LE(at + 8);
    const description = at + aligned(12 + nameSize);
    if (type === NT_GNU_BUILD_ID && notes.toString('latin1', at + 12, at + 15) === 'GNU') {
      return notes.toString('hex', description, description + descriptionSize);
    }
    at = description + aligned(descriptionSize);
  }
  return undefined;
}

function readAt(path: string, offset: number, size: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, readSync(fd, bytes, 0, size, offset));
  } finally {
    closeSync(fd);
  }
}
