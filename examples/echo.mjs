// An upstream that answers with what reached it. `node examples/echo.mjs 127.0.0.1 8080`: on that address and port; without
// them on every address, as a container wants it, and on 8080.
import { createServer } from 'node:http';

const [address, port = '8080'] = process.argv.slice(2);

createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(
    `${JSON.stringify({ method: request.method, url: request.url, headers: request.headers }, null, 2)}\n`,
  );
})
  .on('error', (error) => {
    console.error(`echo.mjs can't listen: ${error.message}. Another address and port can be named after it`);
    process.exitCode = 1;
  })
  .listen(Number(port), address, () =>
    console.log(`listening on ${address ?? 'every address'}, port ${port}`),
  );
