# One image for all processes: `docker run IMAGE api | worker | reclaimer | migrate`.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The compiler's binary comes as a package of its own, so no install script is needed to build.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/copy-assets.ts scripts/
COPY src src
RUN npm run build

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Types, source maps and manuals of packages are for those who develop, `.bare` files for another runtime: half the size.
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force && \
    find node_modules -type f -regex '.*\.\(map\|md\|bare\|d\.[cm]?ts\)' ! -iname '*licen*' -delete

FROM ${NODE_IMAGE}
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
