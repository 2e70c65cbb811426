# For `skaffold dev`: runs the sources, which Node 24 can; skaffold copies changed ones into the pods.
ARG NODE_IMAGE=node:24-bookworm-slim
FROM ${NODE_IMAGE}
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force
COPY src src
USER 1000:1000
EXPOSE 8000 9464
ENTRYPOINT ["node", "src/main.ts"]
CMD ["api"]
