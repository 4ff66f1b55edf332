// engine.io by hand: polling requests and websocket frames, one at a time.
import net from 'node:net';
import { HttpClient } from '../../parity/lib/http.mjs';
import { RawWebSocket, frame } from '../../parity/lib/websocket.mjs';

export { frame };
export const ENDPOINT = '/v1/updates/';
export const POLLING = `${ENDPOINT}?EIO=4&transport=polling`;
export const WEBSOCKET = `${ENDPOINT}?EIO=4&transport=websocket`;
export const SEPARATOR = '\u001e';
const REQUEST_TIMEOUT_MS = 10_000;

/** Plain requests: `{ status, headers, text }`. */
export class Http {
  constructor(server) {
    this.client = new HttpClient(server.url);
  }

  async request(method, path, body = null, headers = {}) {
    const framing = body === null ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const answer = await this.client.request({ method, path, body, headers: { ...framing, ...headers }, timeoutMs: REQUEST_TIMEOUT_MS });
    return { status: answer.status, headers: answer.headers, text: answer.bytes.toString() };
  }

  /** Bytes as they are over a connection of their own: all answers, and whether the server closed. */
  async raw(bytes, options) {
    const { answers, closed } = await this.client.raw(bytes, options);
    return { answers: answers.map((a) => ({ status: a.status, headers: a.headers, text: a.bytes.toString() })), closed };
  }

  close() {
    this.client.close();
  }
}

/** Bytes on a connection of their own that stays open: `received` so far, and whether it is `over`. */
export function connection(server, bytes) {
  const { hostname, port } = new URL(server.url);
  const socket = net.connect({ host: hostname, port: Number(port) }, () => socket.write(bytes));
  socket.received = '';
  socket.over = false;
  socket.on('data', (data) => (socket.received += data.toString('latin1')));
  socket.on('close', () => (socket.over = true));
  socket.on('error', () => (socket.over = true));
  return socket;
}

/** One engine.io session over polling. */
export class Polling {
  static async open(http, token = null) {
    const polling = new Polling();
    polling.http = http;
    const answer = await http.request('GET', POLLING);
    if (answer.status !== 200) throw new Error(`the handshake answered ${answer.status}: ${answer.text}`);
    polling.opened = performance.now();
    polling.handshake = JSON.parse(answer.text.slice(1));
    polling.sid = polling.handshake.sid;
    polling.url = `${POLLING}&sid=${polling.sid}`;
    if (token !== null) {
      await polling.post(`40${JSON.stringify({ token })}`);
      polling.connected = (await polling.poll()).text;
    }
    return polling;
  }

  poll() {
    return this.http.request('GET', this.url);
  }

  post(payload, headers = { 'Content-Type': 'text/plain;charset=UTF-8' }) {
    return this.http.request('POST', this.url, payload, headers);
  }
}

const sockets = new Set();

/** A websocket after its 101; frames are sent and taken one by one. */
export async function openSocket(server, path = WEBSOCKET, options = {}) {
  const socket = new RawWebSocket(server.url);
  sockets.add(socket);
  await socket.open(path, options);
  return socket;
}

/** A websocket session: open packet taken, and with a token connected to the namespace `/`. */
export async function openSession(server, token = null) {
  const socket = await openSocket(server);
  const opened = await socket.next();
  if (opened[0] !== '0') throw new Error(`no open packet but ${opened}`);
  socket.handshake = JSON.parse(opened.slice(1));
  if (token !== null) {
    socket.text(`40${JSON.stringify({ token })}`);
    socket.connected = await socket.next();
    if (!socket.connected.startsWith('40{"sid":"')) throw new Error(`not connected but ${socket.connected}`);
  }
  return socket;
}

/** Everything until the server has closed the connection; close frames are echoed as a client does. */
export async function untilEnd(socket, timeoutMs = 5_000) {
  const seen = [];
  for (;;) {
    const next = await socket.next(timeoutMs);
    seen.push(next);
    if (next === 'ended' || next === 'nothing' || seen.length > 20) return seen;
    if (next.startsWith('close')) socket.send(frame(8, Buffer.alloc(0)));
  }
}

export function destroySockets() {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
}
