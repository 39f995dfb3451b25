// What the docs test needs of Markdown: fenced blocks with the words after the fence, links, headings. Blocks marked
// `test` are run; see test/docs.test.ts for what each mark means.

export interface Block {
  readonly language: string;
  /** The other words on the fence line. */
  readonly marks: readonly string[];
  readonly text: string;
  /** Of the fence. */
  readonly line: number;
}

export function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let open: { language: string; marks: string[]; lines: string[]; line: number } | null = null;
  markdown.split('\n').forEach((line, i) => {
    const fence = /^```(\S*)\s*(.*)$/.exec(line);
    if (fence === null) {
      open?.lines.push(line);
    } else if (open === null) {
      const marks = (fence[2] ?? '').split(/\s+/).filter((word) => word !== '');
      open = { language: fence[1] ?? '', marks, lines: [], line: i + 1 };
    } else {
      const { language, marks, lines, line: start } = open;
      blocks.push({ language, marks, text: `${lines.join('\n')}\n`, line: start });
      open = null;
    }
  });
  return blocks;
}

/** Prose only: fenced blocks and `code` are blanked out. */
function prose(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, (code) => ' '.repeat(code.length));
}

export function linksOf(markdown: string): string[] {
  return [...prose(markdown).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
}

/** The anchors GitHub gives to headings. */
export function anchorsOf(markdown: string): string[] {
  const headings = markdown.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} (.+)$/gm);
  return [...headings].map((match) => (match[1] ?? '').toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));
}

/** Rows of the table whose first header cell is `header`; cells without surrounding space. */
export function tableOf(markdown: string, header: string): string[][] {
  const lines = markdown.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${header} |`));
  if (start < 0) return [];
  const rest = lines.slice(start + 2);
  const end = rest.findIndex((line) => !line.startsWith('|'));
  return rest.slice(0, end < 0 ? undefined : end).map((line) => line.slice(1, -1).split('|').map((cell) => cell.trim()));
}

/** Whether `actual` is what the document promises; `…` in the promise stands for anything within one line. */
export function matches(actual: string, promise: string): boolean {
  const pattern = promise.trimEnd().split('…').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('.*');
  return new RegExp(`^${pattern}$`, 'u').test(actual.trimEnd());
}
