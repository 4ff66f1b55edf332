// Ports on which a server may be started more than once, and that nobody else is given in the meantime.
import { randomInt } from 'node:crypto';
import net from 'node:net';

// Below the ports that Linux lends to outgoing connections, one of which could take a port while its server is away.
const FIRST = 20_000;
const BLOCKS = 240;
const BLOCK_PORTS = 50;

const left = [];

/** Listens on a port of this machine if nobody does. */
function listen(port) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.on('error', () => resolve(null));
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => resolve(server));
  });
}

/** Makes the ports of another block ours, by listening on its first one until the end of this program. */
async function claim() {
  const start = randomInt(BLOCKS);
  for (let n = 0; n < BLOCKS; n++) {
    const first = FIRST + ((start + n) % BLOCKS) * BLOCK_PORTS;
    const claimed = await listen(first);
    if (!claimed) continue;
    claimed.unref();
    left.push(...Array.from({ length: BLOCK_PORTS - 1 }, (_, at) => first + 1 + at));
    return;
  }
  throw new Error(`all ports from ${FIRST} on are taken`);
}

/** A port that nobody listens on, and that no test program is given again. */
export async function freePort() {
  for (;;) {
    if (left.length === 0) await claim();
    const port = left.shift();
    const probe = await listen(port);
    if (!probe) continue;
    await new Promise((closed) => probe.close(closed));
    return port;
  }
}
