"""Data that are read while a network trains on them.

source        what a Source is: fields, rows, blocks in an order that (seed, epoch) fix, a fingerprint
order         permutations from counter-based generators
arrays        arrays, in memory or mapped from files: an exact permutation, or a block shuffle
npz           the arrays of .npy and .npz files, mapped
grouped       rows that are read in groups: a block shuffle
parquet       Parquet files by row groups
images        folders of images by class
batches       any iterable of batches
checked       numbers in dtypes that the programs know, and finite
fingerprint   what tells data from others
prefetch      reading ahead in a thread
unchanged     files that must stay as they are
streams       stream(where, …) and as_source(value): from what a user has to a Source
"""

from chainrule.data.sources.source import Block, Field, Order, Source
from chainrule.data.sources.streams import as_source, stream

__all__ = ["Block", "Field", "Order", "Source", "as_source", "stream"]
