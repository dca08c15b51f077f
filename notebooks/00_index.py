# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Backpropagation, written by hand: twelve lessons
#
# A network learns because someone wrote down, for each of its layers, how the blame for an error is handed
# back from the layer's output to its inputs. These lessons teach you to write that down yourself. You
# derive the backward of a layer on paper, write it as a `torch.autograd.Function`, have it checked, and
# train MNIST with it. At the end of the course you have written every kind of step that the library
# `manualgrad` is made of.
#
# You need Python, tensors as in NumPy, and calculus as taught at school: the derivative of $x^2$, the chain
# rule. You need not have heard of backpropagation.
#
# | lesson | what you can do afterwards | needs | minutes |
# |---|---|---|---|
# | [1. The chain rule](01_chain_rule.ipynb) | say which weight is responsible for an error | school | 45 |
# | [2. Linear and broadcasting](02_linear.ipynb) | derive a gradient with indices and shapes | 1 | 45 |
# | [3. Activations](03_activations.ipynb) | say why a deep network learns, or does not | 1, 2 | 50 |
# | [4. Softmax and cross entropy](04_cross_entropy.ipynb) | write a loss that does not overflow | 1, 2 | 50 |
# | [5. A whole network by hand](05_mlp.ipynb) | train without modules, autograd or optimizer | 2 to 4 | 80 |
# | [6. Convolution and pooling](06_convolution.ipynb) | write the layers that read images | 5 | 90 |
# | [7. Batch and layer norm](07_normalization.ipynb) | differentiate through a mean and a spread | 2 | 60 |
# | [8. Recurrence](08_recurrence.ipynb) | send a gradient back through time | 2 | 60 |
# | [9. Attention](09_attention.ipynb) | write the layer that transformers are made of | 2, 4 | 75 |
# | [10. Write your own backward](10_your_own_backward.ipynb) | leave the derivative, rightly | 3, 6 | 60 |
# | [11. A ladder for your own layer](11_ladder.ipynb) | make it fit for others to use | 2, 3 | 75 |
# | [12. Who is responsible?](12_responsible.ipynb) | ask a network which pixels it goes by | 4, 6 | 60 |
#
# The minutes are for reading and doing. All together they are twelve and a half hours.
#
# ## Three ways through
#
# **Backpropagation is new to you.** Take 1 to 6 in order; they build on each other, and after 5 nothing in a
# training loop is hidden from you any more. Then 7, 8 and 9 in any order, as each needs little of the others.
# 12 closes the circle. Keep 10 and 11 for when you want to write layers of your own.
#
# **You know backpropagation, and want to write Functions.** Do the exercise of 1, to see how exercises work
# here (15 minutes). Then 2, for what broadcasting does to a gradient; 4, for numbers that do not overflow;
# 11, for all that a backward must stand besides being right; and 10, for when it should not be the
# derivative.
#
# **You teach.** Lessons 1, 2 and 4 fit a double period each, with the part "By hand" on the blackboard. 8
# and 12 work as guest lessons for people who know the rest. Every lesson has the same sections: the idea,
# by hand, the derivation, your turn, on MNIST, what the library does, the question behind, what you know
# now. A report of `check` is true or false, so `assert check(TheirFunction, x, weight, bias)` grades an
# exercise, whoever wrote it and however.
#
# ## How to run them
#
# **On your computer.** A laptop without a graphics card is enough; each lesson runs in less than a minute.
#
#     git clone https://github.com/manualgrad/manualgrad && cd manualgrad
#     pip install -e '.[notebooks]'
#
# Then open a notebook in `notebooks/` with VS Code, or with JupyterLab (`pip install jupyterlab`, then
# `jupyter lab notebooks`). What you see before you run anything is the output of the last build: the lessons
# can be read like a book.
#
# **Without a network.** The digits are fetched once, into the folder `data`. Do it while you are online:
#
#     python -c "import sys; sys.path.insert(0, 'notebooks'); import lesson; lesson.digits()"
#
# **On Colab.** Open the notebook from GitHub and run its first cell. It fetches and installs what is missing.
# Where all is installed, it does nothing.
#
# To see whether everything is there, run the next two cells. They should end with eight digits.

# %% tags=["setup"]
# On Colab, this fetches manualgrad first. Where it is installed, it does nothing.
import importlib.util
import os
import sys

if importlib.util.find_spec("manualgrad") is None:
    address = "https://github.com/manualgrad/manualgrad"  # or that of your own copy
    os.system(f"git clone -q {address} && pip install -q './manualgrad[notebooks]'")
    sys.path += ["manualgrad", "manualgrad/notebooks"]

# %%
import lesson

lesson.style()
train, test = lesson.digits()
print(len(train), "digits to learn from,", len(test), "to be tested with")
lesson.show_digits(test.images[:8], [str(label) for label in test.labels[:8].tolist()])

# %% [markdown]
# ## How an exercise works
#
# Each exercise is five cells:
#
# 1. **The hole.** A Function whose forward is written, and whose backward says `raise NotImplementedError`.
#    Write yours in its place.
# 2. **The check.** `check(YourFunction, ...)` moves every input a little, compares your gradient with what
#    happened, and reports. While the hole is open it says "not written". If your backward is wrong, it says
#    for which argument, where and by how much. If it knows the mistake, it names it ("transposed", "missing
#    sum") and gives a line of advice. Change, run both cells again, and repeat.
# 3. **The hints**, folded. Open one at a time.
# 4. **The solution**, folded away. Read it when you have tried, also if yours passes: it says why.
# 5. **The choice.** `choose` takes your Function if it passes every check. Else it takes the solution, and
#    tells you so. The network that follows is built with what it took, so a lesson can be read to its end
#    with an open hole, and run again once it is filled.
#
# You cannot break anything. To be wrong on purpose, and see what `check` says, is one of the better ways to
# learn from it. Each lesson shows one such mistake.
#
# The source of each notebook is the file of the same name that ends in `.py`. If you want to correct
# something, do it there, and run `python notebooks/build.py 01_chain_rule`.
#
# Begin: [lesson 1](01_chain_rule.ipynb).
