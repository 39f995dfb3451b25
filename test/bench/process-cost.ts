// What a process costs, as Linux tells it.

import { readFileSync } from 'node:fs';

/** Fields of /proc/PID/stat after the name in brackets, which may itself hold anything (proc(5): utime is 14, stime 15). */
const UTIME = 14 - 3;
/** A tick of /proc, whatever the kernel's own clock: USER_HZ is 100 wherever Node runs. */
const MICROS_PER_TICK = 10_000;

/** Time in user and system mode of all threads, those that have ended included. */
export function cpuMicrosOf(pid: number | undefined): number {
  return ticksOf(readFileSync(`/proc/${pid}/stat`, 'utf8')) * MICROS_PER_TICK;
}

export function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[UTIME]) + Number(fields[UTIME + 1]);
}

export function residentBytesOf(pid: number | undefined): number {
  return residentIn(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

export function residentIn(status: string): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  if (kib === undefined) throw new Error('the process has ended: its status tells of no memory');
  return Number(kib) * 1024;
}
