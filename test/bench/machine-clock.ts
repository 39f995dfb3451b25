// The machine's monotonic clock, in milliseconds: the same for all processes, unlike `performance.now()`.

export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
