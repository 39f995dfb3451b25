// How late heartbeats were, as the members themselves tell it in /metrics: how long any of them heard nothing of its leader, less
// the time that lies between two heartbeats anyway, or how late a tick came, at which a leader sends them; the longest of all
// since they started.

/** At its default, as the bench starts them. */
const INTERVAL_SECONDS = 0.1;

/** Null: none of them tells. */
export async function latestHeartbeatMs(urls: readonly string[]): Promise<number | null> {
  const texts = await Promise.all(urls.map(async (url) => await (await fetch(`${url}/metrics`)).text()));
  const late = texts.flatMap((text) => {
    const seconds = latestIn(text);
    return seconds === null ? [] : [seconds * 1000];
  });
  return late.length === 0 ? null : Math.max(...late);
}

/** In seconds. */
export function latestIn(metrics: string): number | null {
  const tick = gaugeIn(metrics, 'coterie_tick_late_max_seconds');
  const silence = gaugeIn(metrics, 'coterie_leader_silence_max_seconds');
  return tick === null || silence === null ? null : Math.max(tick, silence - INTERVAL_SECONDS);
}

function gaugeIn(metrics: string, name: string): number | null {
  const [, value] = new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics) ?? [];
  return value === undefined ? null : Number(value);
}
