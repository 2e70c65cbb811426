# For `skaffold dev`: Node 24 runs the sources directly, and Skaffold copies changed sources into the pods.
ARG NODE_IMAGE=node:24-bookworm-slim
# The digest has to be the same as in the Dockerfile.
FROM ${NODE_IMAGE}@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force
COPY src src
USER 1000:1000
EXPOSE 8000 9464
ENTRYPOINT ["node", "src/main.ts"]
CMD ["api"]
