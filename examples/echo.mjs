// An upstream that answers with what reached it. `node examples/echo.mjs 127.0.0.1`: on that address only.
import { createServer } from 'node:http';

createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(
    `${JSON.stringify({ method: request.method, url: request.url, headers: request.headers }, null, 2)}\n`,
  );
}).listen(8080, process.argv[2]);
