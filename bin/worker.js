// A worker process of `hashed-key-auth serve`; src/workers/supervisor.ts starts it.
import { runWorker } from '../dist/src/workers/worker.js';

runWorker();
