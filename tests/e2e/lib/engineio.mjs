// engine.io by hand: polling requests and websocket frames, one at a time.
import net from 'node:net';
import { HttpClient, parseAnswers } from '../../parity/lib/http.mjs';
import { RawWebSocket, frame } from '../../parity/lib/websocket.mjs';
import { PATIENCE_MS, delay, until } from './wait.mjs';

export { frame };
export const ENDPOINT = '/v1/updates/';
export const POLLING = `${ENDPOINT}?EIO=4&transport=polling`;
export const WEBSOCKET = `${ENDPOINT}?EIO=4&transport=websocket`;
export const SEPARATOR = '\u001e';

/** Plain requests: `{ status, headers, text }`. */
export class Http {
  constructor(server) {
    this.client = new HttpClient(server.url);
  }

  async request(method, path, body = null, headers = {}) {
    const framing = body === null ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const answer = await this.client.request({ method, path, body, headers: { ...framing, ...headers }, timeoutMs: PATIENCE_MS });
    return { status: answer.status, headers: answer.headers, text: answer.bytes.toString() };
  }

  /**
   * Bytes as they are over a connection of their own: all answers, and whether the server closed behind the last of
   * `responses`. If it `closes`, that is waited for; otherwise only a close at once is seen.
   */
  async raw(bytes, { closes = false, ...options } = {}) {
    const limits = closes ? { timeoutMs: PATIENCE_MS, closeMs: PATIENCE_MS } : { timeoutMs: PATIENCE_MS };
    const { answers, closed } = await this.client.raw(bytes, { ...limits, ...options });
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

const FIRST_REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const FIRST_ANSWER = 'Welcome to Happier Server!';
const MOMENT_MS = 60;

/**
 * Bytes that the server has read, as nothing on the wire says of an unfinished request or a poll that it holds: they come
 * in one write behind a request that is answered before this resolves. The moment is for another core that they concern.
 */
export async function delivered(server, bytes) {
  const socket = connection(server, FIRST_REQUEST + bytes);
  await until(() => socket.received.includes(FIRST_ANSWER), 'answered what came first');
  socket.received = socket.received.slice(socket.received.indexOf(FIRST_ANSWER) + FIRST_ANSWER.length);
  await delay(MOMENT_MS);
  return socket;
}

/** A poll that the server holds: its `answer`, and its `socket`. */
export async function held(server, polling) {
  const socket = await delivered(server, `GET ${polling.url} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const answers = () => parseAnswers(Buffer.from(socket.received, 'latin1'), false, socket.over).answers;
  const answer = until(() => answers().length > 0 || socket.over, 'answered').then(() => {
    const [whole] = answers();
    socket.destroy();
    if (!whole) throw new Error('the connection of the poll is over');
    return { status: whole.status, headers: whole.headers, text: whole.bytes.toString() };
  });
  answer.catch(() => {}); // whoever asked looks at it later
  return { answer, socket };
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

/** Waits as long as everything here. */
class Socket extends RawWebSocket {
  next(timeoutMs = PATIENCE_MS) {
    return super.next(timeoutMs);
  }

  until(condition, timeoutMs = PATIENCE_MS) {
    return super.until(condition, timeoutMs);
  }
}

/** A websocket after its 101; frames are sent and taken one by one. The packet `first` comes in one write with the request. */
export async function openSocket(server, path = WEBSOCKET, { first, ...options } = {}) {
  const socket = new Socket(server.url);
  sockets.add(socket);
  const opened = socket.open(path, options);
  if (first !== undefined) socket.socket.once('connect', () => socket.text(first));
  await opened;
  await socket.until(() => socket.answer !== null || socket.closed);
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
export async function untilEnd(socket, timeoutMs = PATIENCE_MS) {
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
