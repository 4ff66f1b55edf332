// The stream between replicas, read by somebody who is not in it: what has been said, and whether its form is right.
// A Node server that reads an entry in the wrong form never reads another one, so the forms are checked to the letter.
import { randomUUID } from 'node:crypto';
import { PATIENCE_MS, until } from './wait.mjs';

const KEY = 'socket.io';
const HEX = /^[0-9a-f]{16}$/;
const TYPES = { initialHeartbeat: 1, heartbeat: 2, broadcast: 3, disconnectSockets: 6, fetchSocketsResponse: 8, clientCount: 11, acknowledgement: 12, close: 13 };
/** What is said when updates were lost, and the only time that anything is addressed to everybody. */
const EVERYBODY_COMES_AGAIN = '{"opts":{"rooms":[],"except":[],"flags":{}},"close":true}';
const HEARTBEAT_EVERY_MS = 5_000;
const HEARTBEAT_SLACK_MS = 4_500; // a missed one leaves ten seconds, after which others give a server up

export { KEY as STREAM, TYPES };

/** Every entry that is still there, oldest first: `{ id, ms, fields, uid, type, data }`; `data` is null where it is no JSON. */
export async function entries(redis) {
  const raw = await redis.client.xrange(KEY, '-', '+');
  return raw.map(([id, list]) => {
    const fields = [];
    for (let i = 0; i < list.length; i += 2) fields.push([list[i], list[i + 1]]);
    const { uid, nsp, type, data } = Object.fromEntries(fields);
    return { id, ms: Number(id.split('-')[0]), fields, uid, nsp, type: Number(type), data: parsed(data), text: data };
  });
}

function parsed(data) {
  try {
    return data?.startsWith('{') ? JSON.parse(data) : null;
  } catch {
    return null;
  }
}

/** Adds an entry as it is; the values are texts. It is the test's and no matter of an audit. */
export async function add(redis, fields) {
  redis.added.add(await redis.client.xadd(KEY, '*', ...Object.entries(fields).flat()));
}

/** An entry from nobody in particular: socket.io's own emitters, which are no servers, call themselves so. */
export function emit(redis, { rooms, except = [] }, ...event) {
  return add(redis, { uid: 'emitter', nsp: '/', type: '3', data: JSON.stringify({ packet: { type: 2, data: event }, opts: { rooms, except, flags: {} } }) });
}

/**
 * What is in the stream now has reached these devices when this resolves, whichever replica they are connected to. All
 * devices of their accounts see an ephemeral of the type `fence`.
 */
export async function fence(redis, devices, timeoutMs = PATIENCE_MS) {
  const mark = { type: 'fence', n: randomUUID() };
  const isMark = ({ n }) => n === mark.n;
  const rooms = await Promise.all([...new Set(devices.map(({ account }) => account))].map(async (account) => `user:${await account.id()}`));
  await emit(redis, { rooms }, 'ephemeral', mark);
  await Promise.all(devices.map((device) => until(() => device.ephemerals.some(isMark), 'past the fence', timeoutMs)));
  for (const device of devices) device.ephemerals.splice(device.ephemerals.findIndex(isMark), 1);
}

const isTexts = (value) => Array.isArray(value) && value.every((item) => typeof item === 'string');
const members = (value) => Object.keys(value).join(' ');

/** What is wrong with an entry of ours, or null. */
export function fault({ fields, uid, nsp, type, data, text }) {
  const names = fields.map(([name]) => name).join(' ');
  if (names !== 'uid nsp type' && names !== 'uid nsp type data') return `the fields are ${names}`;
  if (!HEX.test(uid)) return `the uid is ${uid}`;
  if (nsp !== '/') return `the namespace is ${nsp}`;
  if ([TYPES.initialHeartbeat, TYPES.heartbeat, TYPES.close].includes(type)) return text === undefined ? null : `type ${type} has data`;
  if (text === undefined) return `type ${type} has no data`;
  if (data === null) return [TYPES.broadcast, TYPES.acknowledgement].includes(type) && isBase64(text) ? null : `the data is ${text}`;
  if (type === TYPES.broadcast) return faultOfBroadcast(data);
  if (type === TYPES.disconnectSockets) return text === EVERYBODY_COMES_AGAIN ? null : `the data is ${text}`;
  if (!HEX.test(data.requestId)) return `the request id is ${data.requestId}`;
  if (type === TYPES.clientCount) return members(data) === 'requestId clientCount' && Number.isInteger(data.clientCount) ? null : `the data is ${text}`;
  if (type === TYPES.acknowledgement) return /^requestId( packet)?$/.test(members(data)) ? null : `the data is ${text}`;
  if (type === TYPES.fetchSocketsResponse) return Array.isArray(data.sockets) ? null : `the data is ${text}`;
  return `type ${type} is none of ours`;
}

function faultOfBroadcast({ packet, requestId, opts, ...more }) {
  if (Object.keys(more).length > 0) return `a broadcast has ${members(more)}`;
  if (packet?.type !== 2 || !Array.isArray(packet.data) || typeof packet.data[0] !== 'string') return `the packet is ${JSON.stringify(packet)}`;
  if (!isTexts(opts?.rooms) || !isTexts(opts.except) || typeof opts.flags !== 'object') return `the opts are ${JSON.stringify(opts)}`;
  if (opts.rooms.length === 0) return 'a broadcast to everybody';
  if (requestId !== undefined && (!HEX.test(requestId) || opts.flags.timeout !== 30_000)) return 'a call without its id or its time';
  return null;
}

/** What lets a server wait another five seconds with its heartbeat. */
function isSignOfLife({ type, data }) {
  const always = [TYPES.initialHeartbeat, TYPES.heartbeat, TYPES.close].includes(type);
  return always || (type === TYPES.broadcast && data?.requestId !== undefined);
}

const isBase64 = (text) => text.length > 0 && Buffer.from(text, 'base64').toString('base64') === text;

/** Everything that is wrong with what these servers have said, as texts: forms, silences, answers too many, last words. */
export function audit(ours) {
  const faults = [];
  for (const entry of ours) {
    const what = fault(entry);
    if (what) faults.push(`${entry.id}: ${what}`);
  }
  for (const uid of new Set(ours.map((entry) => entry.uid))) {
    const said = ours.filter((entry) => entry.uid === uid);
    const heard = said.filter(isSignOfLife);
    for (let i = 1; i < heard.length; i++) {
      const gap = heard[i].ms - heard[i - 1].ms;
      if (gap > HEARTBEAT_EVERY_MS + HEARTBEAT_SLACK_MS) faults.push(`${uid} was silent for ${gap} ms before ${heard[i].id}`);
    }
    const last = said.findIndex(({ type }) => type === TYPES.close);
    if (last >= 0 && last !== said.length - 1) faults.push(`${uid} said something after its farewell`);
    const counts = said.filter(({ type }) => type === TYPES.clientCount).map(({ data }) => data?.requestId);
    if (new Set(counts).size !== counts.length) faults.push(`${uid} answered a request twice`);
  }
  return faults;
}
