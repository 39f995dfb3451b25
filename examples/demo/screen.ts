// The board, drawn. On a terminal: one screen, redrawn in place and in one write, so that nothing flickers; it fits 80 by 24
// and uses more when there is more. Anywhere else: one plain line per event. Colour only where it is wanted (NO_COLOR).

import { styleText } from 'node:util';

import { SLOT_MS } from './board.js';
import type { Board, Note, ServiceRow, Who } from './board.js';

const FRAME_MS = 100;
const WIDTH_MAX = 110;
const BLOCKS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
const PARTS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
/** Terminals that know it show the frame only when it is complete. */
const FRAME = { begin: '\x1b[?2026h\x1b[H', end: '\x1b[J\x1b[?2026l', line: '\x1b[K\n' };

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

export interface Screen {
  onNote(note: Note): void;
  close(): void;
}

export function isColourful(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR = '', TERM = '' } = process.env;
  return stream.isTTY && NO_COLOR === '' && TERM !== 'dumb';
}

export function painter(colour: boolean): Paint {
  return (style, text) => (colour && text !== '' ? styleText(style, text, { validateStream: false }) : text);
}

/** One line per event, for logs and pipes. */
export function plainScreen(stream: NodeJS.WriteStream): Screen {
  return {
    onNote: (note) => void stream.write(`${clock(note.atMs)} ${note.who.padEnd(8)} ${note.text}\n`),
    close: () => undefined,
  };
}

export function liveScreen(board: () => Board, stream: NodeJS.WriteStream): Screen {
  const paint = painter(isColourful(stream));
  const draw = (): void => {
    const size = { columns: Math.min(stream.columns || 80, WIDTH_MAX), rows: stream.rows || 24 };
    stream.write(FRAME.begin + frame(board(), size, paint).join(FRAME.line) + FRAME.end);
  };
  const onResize = (): void => void stream.write('\x1b[2J');
  const restore = (): void => void stream.write(LEAVE);
  stream.write(ENTER);
  stream.on('resize', onResize);
  process.once('exit', restore);
  const timer = setInterval(draw, FRAME_MS);
  return {
    onNote: () => undefined,
    close() {
      clearInterval(timer);
      stream.off('resize', onResize);
      process.off('exit', restore);
      restore();
      // Who scrolls back finds the last picture, with everything that happened.
      const last = board();
      const size = { columns: Math.min(stream.columns || 80, WIDTH_MAX), rows: Number.POSITIVE_INFINITY };
      stream.write(`${frame(last, size, paint).join('\n')}\n`);
    },
  };
}

/** The whole picture as lines, at most `rows - 1` of them. */
export function frame(board: Board, size: { columns: number; rows: number }, paint: Paint): string[] {
  const width = size.columns - 2;
  const lines = [
    '',
    title(board, width, paint),
    '',
    ...things(board, width, paint),
    '',
    ...traffic(board, width, paint),
    '',
    ...services(board, width, paint),
    '',
  ];
  const room = Math.max(0, size.rows - 1 - lines.length);
  const notes = board.notes.slice(room === Number.POSITIVE_INFINITY ? 0 : -room).map((note) => noteLine(note, width, paint));
  return [...lines, ...notes].slice(0, Math.max(0, size.rows - 1)).map((line) => clip(` ${line}`, size.columns));
}

/** The name, and at the right end the present act and the time. */
function title(board: Board, width: number, paint: Paint): string {
  const [name, what] = ['coterie demo', 'real processes, live traffic'];
  const left = `${paint('cyan', '●')} ${paint('bold', name)}  ${paint('gray', what)}`;
  const leftWidth = 4 + name.length + what.length;
  const time = clock(board.elapsedMs);
  const act = fit(board.act, Math.max(0, width - leftWidth - time.length - 4)).trimEnd();
  const gap = Math.max(1, width - leftWidth - act.length - time.length - 2);
  return `${left}${' '.repeat(gap)}${paint(['bold', 'yellow'], act)}  ${paint('gray', time)}`;
}

function things(board: Board, width: number, paint: Paint): string[] {
  const rows = [
    { name: 'coterie serve', ...board.store },
    { ...board.balancer },
  ];
  return rows.map(({ name, state, url, detail }) => {
    const [mark, style] = state === 'up' ? (['●', 'green'] as const) : (['○', 'yellow'] as const);
    const left = `${paint('bold', fit(name, 14))}  ${paint(style, `${mark} ${state.padEnd(8)}`)} `;
    return `${left} ${url.replace('http://', '').padEnd(15)}  ${paint('gray', fit(detail, width - 45).trimEnd())}`;
  });
}

function traffic(board: Board, width: number, paint: Paint): string[] {
  const rate = perSecond(board.slots.map((slot) => slot.ok + slot.failed));
  const wide = Math.max(10, width - 24);
  const recent = board.slots.slice(-wide - 1, -1);
  const most = Math.max(1, ...recent.map((slot) => slot.ok + slot.failed));
  const bar = ({ ok, failed }: { ok: number; failed: number }): string =>
    paint(failed > 0 ? 'red' : 'cyan', BLOCKS[level(ok + failed, most)] ?? ' ');
  const line = recent.map(bar).join('');
  const pad = ' '.repeat(wide - recent.length);
  const lost = board.failedDuringCrash;
  const failed = `${board.failed} failed`;
  const room = width - `          ${board.requests} sent, ${failed}`.length;
  const why = board.failed === 0 ? '' : fit(` (${lost} in flight at the kill: ${kinds(board)})`, room).trimEnd();
  return [
    `${paint('gray', 'requests ')} ${pad}${line}  ${paint('bold', String(rate).padStart(4))} ${paint('gray', '/s')}`,
    `${' '.repeat(10)}${board.requests} sent, ${paint(failureStyle(board), failed)}${paint('gray', why)}`,
  ];
}

function failureStyle(board: Board): Style {
  if (board.failed === 0) return 'green';
  return board.failed > board.failedDuringCrash ? 'red' : 'yellow';
}

export function kinds(board: Board): string {
  return [...board.failuresByKind].map(([kind, count]) => `${count} ${kind}`).join(', ');
}

function services(board: Board, width: number, paint: Paint): string[] {
  const rows = [...board.services.values()];
  const rates = new Map(rows.map((row) => [row.id, perSecond(row.slots)]));
  const total = Math.max(1, [...rates.values()].reduce((sum, rate) => sum + rate, 0));
  const wide = Math.max(8, width - 51);
  const columns = ['service  ', 'state      ', '    pid', ' ', fit('who gets traffic', wide), 'share', ' req/s'];
  return [
    paint('gray', columns.join(' ')),
    ...rows.map((row) => {
      const rate = rates.get(row.id) ?? 0;
      const share = rate / total;
      const [mark, style] = looks(row);
      const numbers = `${`${Math.round(share * 100)} %`.padStart(5)} ${String(rate).padStart(6)}`;
      const dead = row.state === 'gone' || row.state === 'killed';
      const bar = bars(share, wide);
      return [
        dead ? paint('gray', row.id.padEnd(9)) : paint('bold', row.id.padEnd(9)),
        paint(style, `${mark} ${row.state.padEnd(9)}`),
        `${paint('gray', String(row.pid || '').padStart(7))}  `,
        `${paint(style, bar)}${' '.repeat(wide - bar.length)}`,
        rate === 0 ? paint('gray', numbers) : numbers,
      ].join(' ');
    }),
  ];
}

function looks(row: ServiceRow): readonly [string, Style] {
  switch (row.state) {
    case 'up':
      return ['●', 'green'];
    case 'draining':
      return ['◐', 'yellow'];
    case 'killed':
      return ['✖', 'red'];
    case 'starting':
      return ['○', 'yellow'];
    case 'gone':
      return ['○', 'gray'];
  }
}

const COLOURS: Readonly<Record<Who, Style>> = {
  demo: 'yellow', store: 'blue', service: 'green', registry: 'magenta', sidecar: 'cyan', proxy: 'cyan', traffic: 'white',
};

function noteLine(note: Note, width: number, paint: Paint): string {
  const text = fit(note.text, width - 17).trimEnd();
  const who = paint(COLOURS[note.who], note.who.padEnd(8));
  return `${paint('gray', clock(note.atMs))} ${who} ${note.who === 'demo' ? paint('bold', text) : text}`;
}

/** Over the last two whole seconds. */
function perSecond(slots: readonly number[]): number {
  const recent = slots.slice(-5, -1);
  const sum = recent.reduce((total, count) => total + count, 0);
  return recent.length === 0 ? 0 : Math.round((sum * 1000) / (recent.length * SLOT_MS));
}

function level(count: number, most: number): number {
  return Math.min(BLOCKS.length - 1, Math.floor((count / most) * BLOCKS.length));
}

function bars(share: number, wide: number): string {
  const eighths = Math.min(wide * 8, Math.round(share * wide * 8));
  return '█'.repeat(Math.floor(eighths / 8)) + (PARTS[eighths % 8] ?? '');
}

/** Exactly `width` columns. Every character the demo prints is one column wide. */
function fit(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text.padEnd(width);
}

/** At most `width` columns: a longer line would wrap, and push the picture out of the screen. Colours do not count. */
function clip(line: string, width: number): string {
  let seen = 0;
  return line.replaceAll(/(\x1b\[[0-9;]*m)|[^]/gu, (one, colour?: string) => {
    if (colour !== undefined) return colour;
    seen += 1;
    return seen > width ? '' : one;
  });
}

export function clock(ms: number): string {
  return `${(ms / 1000).toFixed(1).padStart(5)} s`;
}
