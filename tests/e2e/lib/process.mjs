// A child process whose output is kept, whose end can be awaited, and which never outlives this program.
import { spawn } from 'node:child_process';

const OUTPUT_CHARS_MAX = 200_000;
const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export class Child {
  constructor(command, args, options) {
    this.output = ''; // both streams; only the end of a long one
    this.listeners = new Set();
    this.ended = null; // { code, signal }
    this.process = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    running.add(this.process);
    const collect = (chunk) => {
      this.output = (this.output + chunk).slice(-OUTPUT_CHARS_MAX);
      for (const listener of [...this.listeners]) listener();
    };
    this.process.stdout.setEncoding('utf8').on('data', collect);
    this.process.stderr.setEncoding('utf8').on('data', collect);
    this.exit = new Promise((resolve) => {
      const end = (code, signal) => {
        running.delete(this.process);
        this.ended ??= { code, signal };
        resolve(this.ended);
        for (const listener of [...this.listeners]) listener();
      };
      this.process.on('error', (error) => {
        this.output += `${error.message}\n`;
        end(-1, null);
      });
      this.process.on('close', end); // after the streams are empty, so that `output` is complete
    });
  }

  get pid() {
    return this.process.pid;
  }

  signal(name) {
    this.process.kill(name);
  }

  /** Resolves with the match of `pattern` in the output; fails when the process ends first or time is up. */
  said(pattern, timeoutMs) {
    return new Promise((resolve, reject) => {
      const done = (finish, value) => {
        clearTimeout(timer);
        this.listeners.delete(check);
        finish(value);
      };
      const fail = (why) => done(reject, new Error(`${why} before saying ${pattern}; its output:\n${this.output}`));
      const check = () => {
        const match = pattern.exec(this.output);
        if (match) done(resolve, match);
        else if (this.ended) fail(`the process ended with ${JSON.stringify(this.ended)}`);
      };
      const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
      this.listeners.add(check);
      check();
    });
  }

  /** Waits for the end; kills the process and fails when it takes longer than `timeoutMs`. */
  async finished(timeoutMs) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve(null), timeoutMs);
    });
    const ended = await Promise.race([this.exit, late]);
    clearTimeout(timer);
    if (ended) return ended;
    this.signal('SIGKILL');
    await this.exit;
    throw new Error(`still running after ${timeoutMs} ms; its output:\n${this.output}`);
  }
}

/** Runs a command to its end; fails with its output when it does not succeed. */
export async function runToEnd(command, args, options = {}, timeoutMs = 60_000) {
  const child = new Child(command, args, options);
  const { code } = await child.finished(timeoutMs);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${child.output}`);
  return child.output;
}
