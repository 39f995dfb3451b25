// What a run says on stderr while it goes on: a line for each figure, with the time it has taken so far and how much is left,
// about. Colours where stderr is a terminal and NO_COLOR is not set.

import type { ServerName, Row, Figure } from './report.js';
import type { Outline, Watcher } from './runner.js';
import { estimateSeconds } from './runner.js';
import { shown } from './wording.js';

export interface Out {
  write(text: string): void;
  readonly isColoured: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function isColoured(stream: { readonly isTTY?: boolean }, environment: Environment): boolean {
  return stream.isTTY === true && (environment.NO_COLOR ?? '') === '';
}

export function minutes(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

export function watcherOn(out: Out, plan: Outline, now: () => number): Omit<Watcher, 'rounded'> {
  const startedAt = now();
  let [behind, done] = [0, 0];
  let heading = '';
  const line = (text: string, code: string): void => {
    const left = Math.max(0, estimateSeconds(plan) - behind);
    const time = `${minutes((now() - startedAt) / 1000)} (${minutes(left)} left)`;
    const said = `${time}  ${heading}  ${text}`;
    out.write(out.isColoured ? `\u001B[${code}m${said}\u001B[0m\n` : `${said}\n`);
  };
  return {
    began(round: number, theme, name: ServerName): void {
      behind += done;
      done = theme.seconds(plan.pace, name);
      heading = `round ${round}/${plan.rounds}  ${name.padEnd(7)}`;
      line(theme.title, '2');
    },
    measured: (row: Row, { value }: Figure) => line(`  ${row.name}: ${shown(value)} ${row.unit}`, '0'),
    failed: (row: Row, why: string) => line(`  ${row.name}: not measured: ${why}`, '31'),
    progress: (what: string) => line(`  ${what}`, '2'),
  };
}
