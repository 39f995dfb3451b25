// Tells systemd how the server is (sd_notify): READY, what it is doing, STOPPING, and that it is alive where the unit has a
// WatchdogSec. Node cannot send on a datagram socket of the file system, and we load no native code: systemd's own
// `systemd-notify` says it for us, so a unit needs NotifyAccess=all. Without NOTIFY_SOCKET this does nothing.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Logger } from './log.js';

const PROGRAMS: readonly string[] = ['/usr/bin/systemd-notify', '/bin/systemd-notify'];
const SAY_MS_MAX = 5000;

export interface Notice {
  /** Of the service, in the words of sd_notify(3): `READY=1`. */
  say(...words: readonly string[]): void;
}

/** `environment` is what systemd left in it. */
export function openNotice(environment: Readonly<Record<string, string | undefined>>, log: Pick<Logger, 'warn'>): Notice {
  const socket = environment['NOTIFY_SOCKET'] ?? '';
  if (socket === '') return { say: () => undefined };
  const program = PROGRAMS.find((path) => existsSync(path));
  if (program === undefined) {
    log.warn('NOTIFY_SOCKET is set, but there is no systemd-notify to say anything with: Type=notify would wait in vain');
    return { say: () => undefined };
  }
  let failed = false;
  const say = (...words: readonly string[]): void => {
    // One after the other would be better; systemd takes them in any order, and two seldom meet.
    execFile(program, [...words], { timeout: SAY_MS_MAX, env: { NOTIFY_SOCKET: socket } }, (error) => {
      if (error !== null && !failed) log.warn({ error }, 'systemd-notify does not work');
      failed = error !== null;
    });
  };
  beat(environment, say);
  return { say };
}

/** The timer is the proof: an event loop that stands still says nothing, and systemd ends the process. */
function beat(environment: Readonly<Record<string, string | undefined>>, say: (word: string) => void): void {
  const intervalMs = Number(environment['WATCHDOG_USEC'] ?? '0') / 1000;
  const pid = environment['WATCHDOG_PID'];
  if (!(intervalMs > 0) || (pid !== undefined && Number(pid) !== process.pid)) return;
  const again = (): void => {
    say('WATCHDOG=1');
    setTimeout(again, intervalMs / 3).unref();
  };
  again();
}
