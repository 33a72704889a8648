#!/usr/bin/env node
import { availableParallelism } from 'node:os';

// argon2 runs on libuv's pool, whose size is fixed at its first use.
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));

// Who reads the output may go before its end (`| head`). What was begun is still done to its end, and the status tells that
// not all of it was seen, as that of a program does which SIGPIPE ends.
let outputLost = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if (error.code !== 'EPIPE') throw error;
    outputLost = true;
  });
}
process.once('exit', (code) => {
  if (outputLost && code === 0) process.exitCode = 141;
});

import('../dist/src/cli/main.js')
  .then(({ main }) => main(process.argv.slice(2)))
  .then((code) => {
    process.exitCode = code;
  });
