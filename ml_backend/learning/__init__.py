"""The only package that knows torch: images, backbones, embeddings, head. Knows no Label Studio."""
