"""Functions that printed programs carry with them where they need them: what NumPy does not have."""

from __future__ import annotations

HELPERS = {
    "sigmoid": '''\
def sigmoid(a):
    """1 / (1 + exp(-a)), by an exp that cannot overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a > 0, 1, e) / (1 + e)''',
    "softplus": '''\
def softplus(a):
    """log(1 + exp(a)), without overflow."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))''',
    "erf": '''\
def erf(a):
    """The error function, entry by entry: NumPy has none."""
    return np.vectorize(math.erf, otypes=[FLOAT])(a)''',
    "truncated_normal": '''\
def truncated_normal(generator, mean, deviation, shape):
    """Normal numbers; those more than two standard deviations from the mean are drawn again."""
    drawn = np.asarray(generator.normal(size=shape))
    while (far := np.abs(drawn) > 2).any():
        drawn[far] = generator.normal(size=np.count_nonzero(far))
    return mean + deviation*drawn''',
    "identity": '''\
def identity(low, high, shape):
    """`high` where row and column are equal, `low` elsewhere; all axes but the last count as the row."""
    eye = np.eye(np.prod(shape[:-1], dtype=int), shape[-1])
    return (low + (high - low)*eye).reshape(shape)''',
    "orthogonal": '''\
def orthogonal(generator, gain, shape):
    """A random matrix with orthonormal columns, or rows where they are fewer; all axes but the last are the row."""
    rows, columns = np.prod(shape[:-1], dtype=int), shape[-1]
    q, triangle = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
    q = q*np.sign(np.diag(triangle))
    return gain*(q if rows >= columns else q.T).reshape(shape)''',
    "even": '''\
def mix(z):
    """64-bit words well mixed: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = (z ^ z >> 30) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> 27) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> 31


def even(shape, *key):
    """Numbers in [0, 1) as chainrule draws them: by seed, step, name and number of the draw, row and place."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    h = np.zeros(1, np.uint64)
    for word in key:
        h = mix((h ^ np.uint64(word)) + gamma)
    row = np.arange(shape[0], dtype=np.uint64)[:, None]
    place = np.arange(1, math.prod(shape[1:]) + 1, dtype=np.uint64)
    words = mix(h + gamma * ((row << 32) + place)) >> FIRST
    return (words * 2.0**-BITS).astype(FLOAT).reshape(shape)''',
}
GENERATOR = '''\
def rng(*key):
    """A generator of its own for every draw: the order of an epoch, and, from 2**32 on, each parameter."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))'''
SILENCE = """\
# np.where computes both of its branches, and only then chooses.
np.seterr(divide="ignore", invalid="ignore", over="ignore")"""
