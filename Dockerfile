# The image that the profile for Kubernetes names (docs/schedulers.md): docker build -t simlm:0.1.0 .
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ git libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/simlm
COPY requirements.lock .
RUN pip install --no-cache-dir -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps -e .
CMD ["snakemake", "--cores", "all", "all"]
