// A worker process of `hashed-key-auth serve`; src/workers/supervisor.ts starts it.

// No debugger on loopback: see hashed-key-auth.js. Before anything else is loaded.
process.on('SIGUSR1', () => undefined);

const { runWorker } = await import('../dist/src/workers/worker.js');
runWorker();
