// How late heartbeats were, as the members themselves tell it in /metrics: the longest that any has been late since it started.

/** Null: none of them tells. */
export async function latestHeartbeatMs(urls: readonly string[]): Promise<number | null> {
  const texts = await Promise.all(urls.map(async (url) => await (await fetch(`${url}/metrics`)).text()));
  const late = texts.flatMap((text) => {
    const seconds = latestIn(text);
    return seconds === null ? [] : [seconds * 1000];
  });
  return late.length === 0 ? null : Math.max(...late);
}

export function latestIn(metrics: string): number | null {
  const [, seconds] = /^coterie_raft_heartbeat_late_seconds_max(?:\{[^}]*\})? (\S+)$/m.exec(metrics) ?? [];
  return seconds === undefined ? null : Number(seconds);
}
