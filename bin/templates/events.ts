/**
 * An analysis of recorded events, for which nothing is replayed: large heap blocks, by who allocated them.
 * Run it with: grind analyze ./NAME.ts --least=100000
 */
import {
  analysisTable,
  defineAnalysis,
  findingAt,
  Findings,
  recordedStacks,
  u32,
  u64,
  wholeNumber,
} from 'grind';

/** Rows for SQL: `grind query "from large_blocks"`. Leave it out if findings will do. */
const large_blocks = analysisTable('large_blocks', 'One row per large block.', {
  tick: u64('Instructions executed before the allocation.'),
  address: u64('First byte.'),
  size_bytes: u64('Size asked for, in bytes.'),
  stack: u32('Call stack of the allocation, a key of `stacks`.'),
});

export default defineAnalysis({
  name: 'NAME',
  describe: 'Large heap blocks, by who allocated them',
  options: {
    least: wholeNumber('Size of the smallest block that is told, in bytes', 1_000_000),
  },
  // Called once for each process of the run. `options` are text, as on the command line.
  part(trace, process, options, { callers }) {
    const least = BigInt(options.least);
    const stacks = recordedStacks(trace, process);
    const found = new Findings(); // equal ones become one, with a count
    const rows: {
      process: number;
      tick: bigint;
      address: bigint;
      size_bytes: bigint;
      stack: number;
    }[] = [];
    return {
      // By name of the table that has them: docs/tables.md, "Stored files". Your editor knows their columns.
      events: {
        heap(row) {
          const size = row.value('size');
          if (size < least || !/^(malloc|calloc|memalign|new|realloc)/.test(row.value('op')))
            return;
          const at = { process, thread: row.value('thread'), tick: row.value('tick') };
          found.add(
            findingAt(at, {
              kind: 'LargeBlock',
              what: `A block of ${size} bytes is allocated`,
              severity: 'note', // or 'warning', or 'error', which counts for --error-exitcode
              pcs: stacks.get(row.value('stack'))?.slice(0, callers) ?? [],
            }),
          );
          const stack = row.value('stack');
          rows.push({
            process,
            tick: at.tick,
            address: row.value('address'),
            size_bytes: size,
            stack,
          });
        },
      },
      finish: () => ({
        process,
        findings: [...found.list],
        summary: { large_blocks: rows.length },
        missing: [], // sentences about what could not be judged
        tables: [{ table: large_blocks, rows }],
      }),
    };
  },
});
