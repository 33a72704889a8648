# The plugin server and command line. Kong itself runs from its official image; the two share a socket.
FROM node:20.19-bookworm-slim AS build
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

FROM node:20.19-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist/src ./dist/src
COPY package.json LICENSE ./
COPY bin ./bin
COPY plugins ./plugins
COPY schemas ./schemas
COPY src/generated/kong ./kong
RUN ln -s /app/bin/hashed-key-auth.js /usr/local/bin/hashed-key-auth
# Neither root nor anybody else's id; group 65000 is the one that Kong is put into, for the socket.
USER 65532:65000
ENTRYPOINT ["hashed-key-auth"]
CMD ["serve", "--config", "/etc/hashed-key-auth/hashed-key-auth.yaml"]
