// The page of numbers that a server shows to Prometheus.

/** A metric, summed over its labels; fails when it is not on the page. */
export async function metric(server, name) {
  const value = (await metrics(server)).get(name);
  if (value === undefined) throw new Error(`${name} is not on the page of metrics`);
  return value;
}

/** All metrics by name, each summed over its labels. */
export async function metrics(server) {
  const page = await (await fetch(`${server.metricsUrl}/metrics`, { headers: { Connection: 'close' } })).text();
  const sums = new Map();
  for (const line of page.split('\n')) {
    const [, name, value] = /^([a-z_]\w*)(?:\{.*\})? (\S+)$/.exec(line) ?? [];
    if (name) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}
