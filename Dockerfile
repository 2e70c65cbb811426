# One image for all processes: `docker run IMAGE api | worker | reclaimer | migrate`.
# NODE_IMAGE can name a mirror of the public registry, if the digest is the same. To change the version of Node, change
# the digest: `docker buildx imagetools inspect node:24-bookworm-slim` shows it. This one is 24.18.0, for all processors.
ARG NODE_IMAGE=node:24-bookworm-slim
FROM ${NODE_IMAGE}@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d AS node

FROM node AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The compiler's binary comes in a separate package, so the build needs no install scripts.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/copy-assets.ts scripts/
COPY src src
RUN npm run build

# What the image consists of, for those who have to know (docs/security.md).
FROM build AS sbom
COPY Dockerfile ./
COPY scripts/supply scripts/supply
RUN node scripts/supply/sbom.ts sbom.cdx.json

FROM node AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Delete the packages' types, source maps and manuals, which only developers need, and `.bare` files, which are for
# another runtime. This halves the size.
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force && \
    find node_modules -type f -regex '.*\.\(map\|md\|bare\|d\.[cm]?ts\)' ! -iname '*licen*' -delete

FROM node
ENV NODE_ENV=production
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=sbom /app/sbom.cdx.json ./
# This is the user `node` of the base image. With a number, Kubernetes can check that it is not root. The user owns no
# files of the application.
USER 1000:1000
EXPOSE 8000 9464
ENTRYPOINT ["node", "dist/main.js"]
CMD ["api"]
