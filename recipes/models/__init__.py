"""The networks, a file each."""

from recipes.models.autoencoder import Autoencoder
from recipes.models.cnn import CNN
from recipes.models.lenet5 import LeNet5
from recipes.models.mlp import MLP
from recipes.models.pretrained import Pretrained
from recipes.models.recurrent import GRU, LSTM
from recipes.models.resnet import ResNet
from recipes.models.vae import VAE
from recipes.models.vit import ViT

__all__ = ["CNN", "GRU", "LSTM", "MLP", "VAE", "Autoencoder", "LeNet5", "Pretrained", "ResNet", "ViT"]
