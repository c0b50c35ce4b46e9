"""Pictures of a network, of what it computes and of how it learns: `chainrule.pictures.<name>`.

    network_diagram   layers, neurons and weights of the user's own network, with a sample's numbers
    flow_frames       the forward pass, the backward pass and the update, lit layer by layer
    flow_gif          the same as one GIF
    weight_images     the weights of each unit as an image of the input
    activations       what each layer makes of a sample or a batch
    reconstructions   images above what an autoencoder makes of them, beside PCA's
    decision_boundary what a network of two inputs decides, everywhere in the plane
    Boundary          a callback of fit that keeps that after each epoch: frames(), gif(path), lines()
    loss_line         the loss along a line through the weights
    loss_plane        the loss over a plane through the weights, with the path of training on it
    WeightPath        a callback of fit that keeps that path
    descent           gradient descent on a function of one or two variables
    descent_path      its points as numbers
    batch_noise       the error of a batch's gradient as the batch grows
    gradient_error_picture   the error of numerical derivatives by one weight against their step
    derivative_picture       a formula, its secants, its tangent, and its derivative
    save              write a figure as .svg, .png or .pdf
    save_gif          write figures as one GIF

What is drawn comes back as a matplotlib Figure; matplotlib loads when the first picture is drawn.

>>> import chainrule as cr
>>> cr.pictures.descent_path("x**2", 1.0, learning_rate=0.25, steps=2).tolist()
[1.0, 0.5, 0.25]
"""

from __future__ import annotations

from chainrule.interfaces.pictures.boundary import Boundary, decision_boundary
from chainrule.interfaces.pictures.descent import descent
from chainrule.interfaces.pictures.diagram import network_diagram
from chainrule.interfaces.pictures.differentiation import derivative_picture, gradient_error_picture
from chainrule.interfaces.pictures.flow import flow_frames, flow_gif
from chainrule.interfaces.pictures.images import activations, reconstructions, weight_images
from chainrule.interfaces.pictures.landscape import WeightPath, loss_line, loss_plane
from chainrule.interfaces.pictures.noise import batch_noise
from chainrule.interfaces.pictures.walk import descent_path
from chainrule.interfaces.plots import save_figure as save
from chainrule.interfaces.plots import save_gif

__all__ = [
    "Boundary",
    "WeightPath",
    "activations",
    "batch_noise",
    "decision_boundary",
    "derivative_picture",
    "descent",
    "descent_path",
    "flow_frames",
    "flow_gif",
    "gradient_error_picture",
    "loss_line",
    "loss_plane",
    "network_diagram",
    "reconstructions",
    "save",
    "save_gif",
    "weight_images",
]
