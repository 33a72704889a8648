# The plugin server, the admin service and the command line. Kong itself runs from its official image; they share a socket.
# Node 24 is supported until 2028; the tests run on 20, and most of them on this version (make test-node NODE_VERSION=24.21.0).
# For production add the digest that your registry has, or take a later one:
#   docker build --build-arg NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:… .
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-fund --no-audit
COPY tsconfig.json ./
COPY schemas ./schemas
COPY scripts ./scripts
COPY bench ./bench
COPY test ./test
COPY src ./src
RUN npx --no-install tsc -p tsconfig.json && npm prune --omit=dev

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist/src ./dist/src
COPY package.json LICENSE ./
COPY bin ./bin
COPY plugins ./plugins
COPY schemas ./schemas
COPY src/generated/kong ./kong
# npm is no part of what runs. The folder is for the admin service's audit log: a volume takes its owner over.
RUN ln -s /app/bin/hashed-key-auth.js /usr/local/bin/hashed-key-auth \
  && rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /opt/yarn* /usr/local/bin/yarn* \
  && install -d -o 65532 -g 65000 -m 0700 /var/lib/hashed-key-auth
# Neither root nor anybody else's id; group 65000 is the one that Kong is put into, for the socket.
USER 65532:65000
ENTRYPOINT ["hashed-key-auth"]
CMD ["serve", "--config", "/etc/hashed-key-auth/hashed-key-auth.yaml"]
