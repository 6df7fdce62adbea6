/**
 * Findings of a process image as the XML that Valgrind writes (docs/internals/xml-output-protocol4.txt of its sources), which
 * editors, Jenkins and CTest read.
 */
import type { FatalSignal } from '../analyses/fatal-signal.js';
import { argumentsOf } from '../analyses/output-file.js';
import type { NamedStack, Report, ReportedFinding } from '../analyses/report.js';
import type { Manifest } from '../recorder/manifest.js';
import type { Frame } from '../replay/symbols.js';
import type { ProcessRow } from '../replay/trace.js';
import { hex } from '../schemas/numbers.js';
import { signalName } from '../schemas/syscalls.js';

/** The tools whose findings those of an analysis are; others have their own names. */
const TOOLS: Readonly<Record<string, string>> = { race: 'helgrind' };

type Node = readonly [tag: string, content: string | number | bigint | readonly Node[]];

/**
 * One document: of the findings that the report shows, of one process.
 * @param parentPid - 0 if that is not known
 */
export function valgrindXml(
  report: Report,
  image: ProcessRow,
  parentPid: number,
  manifest: Manifest,
): string {
  const own = report.findings.filter(({ finding }) => finding.process === image.process);
  const shown = own.filter(({ isShown }) => isShown);
  // As Valgrind does, leaks come after the end, and are none of the counted errors.
  const [errors, leaks] = [shown.filter((one) => !isLeak(one)), shown.filter(isLeak)];
  const tool = TOOLS[report.name] ?? report.name;
  const argv = argumentsOf(image);
  const root: Node = [
    'valgrindoutput',
    [
      ['protocolversion', 4],
      ['protocoltool', tool],
      [
        'preamble',
        [
          [
            'line',
            `grind ${manifest.versions.grind}, from a recording under Valgrind ${manifest.versions.engine}`,
          ],
          ['line', `Command: ${argv.join(' ')}`],
        ],
      ],
      ['pid', image.pid],
      ['ppid', parentPid],
      ['tool', tool],
      [
        'args',
        [
          ['vargv', [['exe', 'grind']]],
          [
            'argv',
            [
              ['exe', argv[0] ?? image.executable],
              ...argv.slice(1).map((arg): Node => ['arg', arg]),
            ],
          ],
        ],
      ],
      status('RUNNING', 0),
      ...errors.map(error),
      ...fatalSignal(report.fatalSignal(image.process)),
      status('FINISHED', milliseconds(image)),
      ...leaks.map(error),
      [
        'errorcounts',
        errors.map((one): Node => [
          'pair',
          [
            ['count', one.finding.count],
            ['unique', unique(one)],
          ],
        ]),
      ],
      ['suppcounts', suppressed(own)],
    ],
  ];
  return `<?xml version="1.0"?>\n\n${text(root, '')}`;
}

const isLeak = ({ finding }: ReportedFinding): boolean => finding.leak !== undefined;
const unique = ({ number }: ReportedFinding): string => `0x${(number - 1).toString(16)}`;

function error(one: ReportedFinding): Node {
  const { finding, stacks } = one;
  const { leak } = finding;
  const [where, ...others] = stacks;
  const what: Node = leak
    ? [
        'xwhat',
        [
          ['text', finding.what],
          ['leakedbytes', leak.bytes + leak.indirectBytes],
          ['leakedblocks', leak.blocks],
        ],
      ]
    : ['what', finding.what];
  return [
    'error',
    [
      ['unique', unique(one)],
      ['tid', finding.thread],
      ['kind', finding.kind],
      what,
      ...(where ? [stack(where)] : []),
      ...finding.notes.map((note): Node => ['auxwhat', note]),
      ...others.flatMap((other): Node[] => [['auxwhat', other.role], stack(other)]),
    ],
  ];
}

/** Its code is known of accesses that the processor refused. */
function fatalSignal(fatal: FatalSignal | undefined): Node[] {
  if (!fatal) return [];
  const { thread, signal, fault, frames } = fatal;
  const node: Node = [
    'fatal_signal',
    [
      ['tid', thread],
      ['signo', signal],
      ['signame', signalName(signal)],
      ...(fault
        ? ([
            ['sicode', fault.code],
            ...(fault.event ? [['event', fault.event] as const] : []),
            ['siaddr', hex(fault.address)],
          ] as const)
        : []),
      stack({ frames }),
    ],
  ];
  return [node];
}

const stack = ({ frames }: Pick<NamedStack, 'frames'>): Node => ['stack', frames.map(frameNode)];

const frameNode = ({ pc, module, fn, directory, file, line }: Frame): Node => [
  'frame',
  [
    ['ip', `0x${pc.toString(16).toUpperCase()}`],
    ...(module ? [['obj', module] as const] : []),
    ...(fn ? [['fn', fn] as const] : []),
    ...(file && directory ? [['dir', directory] as const] : []),
    ...(file ? [['file', file] as const, ['line', line] as const] : []),
  ],
];

function suppressed(own: readonly ReportedFinding[]): Node[] {
  const counts = new Map<string, number>();
  for (const { finding, suppression } of own)
    if (suppression)
      counts.set(
        suppression.name,
        (counts.get(suppression.name) ?? 0) + (finding.leak ? 1 : finding.count),
      );
  return [...counts].map(([name, count]): Node => [
    'pair',
    [
      ['count', count],
      ['name', name],
    ],
  ]);
}

function status(state: string, ms: number): Node {
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const s = ms / 1000;
  const time = `${two(s / 86400)}:${two((s / 3600) % 24)}:${two((s / 60) % 60)}:${two(s % 60)}.${String(ms % 1000).padStart(3, '0')}`;
  return [
    'status',
    [
      ['state', state],
      ['time', time],
    ],
  ];
}

const milliseconds = ({ start_time_ns: start, end_time_ns: end }: ProcessRow): number =>
  end > start ? Number((end - start) / 1_000_000n) : 0;

function text([tag, content]: Node, indent: string): string {
  if (!Array.isArray(content)) return `${indent}<${tag}>${escapeXml(String(content))}</${tag}>\n`;
  const inner = (content as readonly Node[]).map((node) => text(node, `${indent}  `)).join('');
  return `${indent}<${tag}>\n${inner}${indent}</${tag}>\n`;
}

/** Characters that XML 1.0 does not allow are left out. */
export const escapeXml = (plain: string): string =>
  plain
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '')
    .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
