# One image for all processes: `docker run IMAGE api | worker | reclaimer | migrate`.
# A mirror may stand in for the public registry, with the same digest. Another Node is another digest (this one is 24.18.0, for
# all processors): `docker buildx imagetools inspect node:24-bookworm-slim` shows it.
ARG NODE_IMAGE=node:24-bookworm-slim
FROM ${NODE_IMAGE}@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d AS node

FROM node AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The compiler's binary comes as a package of its own, so no install script is needed to build.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/copy-assets.ts scripts/
COPY src src
RUN npm run build

FROM node AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Types, source maps and manuals of packages are for those who develop, `.bare` files for another runtime: half the size.
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force && \
    find node_modules -type f -regex '.*\.\(map\|md\|bare\|d\.[cm]?ts\)' ! -iname '*licen*' -delete

FROM node
ENV NODE_ENV=production
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
# `node` of the base image, by number: Kubernetes can check that it is not root. Nothing in here belongs to it.
USER 1000:1000
EXPOSE 8000 9464
ENTRYPOINT ["node", "dist/main.js"]
CMD ["api"]
