// A peer to compare with: the same rooms and events as the product, over Node's socket.io. See ../socketioxide.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const json = (response, body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body));

const http = createServer((request, response) => {
  let text = '';
  request.on('data', (chunk) => (text += chunk));
  request.on('end', () => {
    if (request.url === '/v1/auth') return json(response, { success: true, token: JSON.parse(text).publicKey });
    if (request.url === '/v1/sessions') return json(response, { session: { id: JSON.parse(text).tag, seq: 0 } });
    if (request.url === '/health') return json(response, { status: 'ok' });
    response.statusCode = 404;
    response.end();
  });
});

// The heartbeat and the options of the reference server.
const io = new Server(http, {
  path: '/v1/updates/', pingInterval: 15000, pingTimeout: 45000, serveClient: false, perMessageDeflate: false,
});

io.on('connection', (socket) => {
  const { token, clientType } = socket.handshake.auth;
  if (clientType === 'user-scoped') socket.join(token);
  socket.on('ping', (ack) => ack({}));
  socket.on('session-alive', ({ sid, time, thinking }) => {
    socket.to(token).emit('ephemeral', { type: 'activity', id: sid, active: true, activeAt: time, thinking });
  });
});

http.listen(0, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${http.address().port}`));
