"""
The tagger: character, pair and gazetteer embeddings, one bidirectional LSTM, one score per character and tag.

The loss is that of a CRF whose only transitions are the BIES rules: every legal sequence is possible, none is
preferred, so scores can be compared character by character when it comes to answering (`address.decode`). Since a
sequence's score is a sum over characters, the same loss takes gold tags and a teacher's marginals: the cross entropy
of the two distributions is `log Z` minus the expected score.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from addrmesh.address.labels import TAGS
from addrmesh.inference.features import GAZETTEER_CODES, Inputs

GAZETTEER_BITS = GAZETTEER_CODES.bit_length() - 1
CHARACTER_DIM, PAIR_DIM, GAZETTEER_DIM = 96, 48, 24


class Tagger(nn.Module):
    """Scores for one or more tag sets over one encoder."""

    def __init__(
        self, characters: int, pairs: int, hidden: int, heads: Sequence[int] = (len(TAGS),), dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.mask_id = characters  # one more than the vocabulary, for pre-training
        self.character = nn.Embedding(characters + 1, CHARACTER_DIM)
        self.pair = nn.Embedding(pairs, PAIR_DIM)
        self.gazetteer = nn.Linear(GAZETTEER_BITS, GAZETTEER_DIM)
        nn.init.normal_(self.character.weight, std=0.3)
        nn.init.normal_(self.pair.weight, std=0.3)
        self.lstm = nn.LSTM(CHARACTER_DIM + PAIR_DIM + GAZETTEER_DIM, hidden, bidirectional=True)
        self.heads = nn.ModuleList(nn.Linear(2 * hidden, tags) for tags in heads)
        self.guess = nn.Linear(2 * hidden, CHARACTER_DIM)  # pre-training only
        self.drop = nn.Dropout(dropout)
        self.register_buffer("bits", 1 << torch.arange(GAZETTEER_BITS))

    def encode(self, characters: Tensor, pairs: Tensor, gazetteer: Tensor, lengths: Tensor) -> Tensor:
        """Return the states `[T, B, 2H]` of inputs `[T, B]`."""
        hits = ((gazetteer.unsqueeze(-1) & self.bits) > 0).float()
        x = torch.cat([self.character(characters), self.pair(pairs), self.gazetteer(hits)], -1)
        packed = nn.utils.rnn.pack_padded_sequence(self.drop(x), lengths, enforce_sorted=False)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            states, _ = self.lstm(packed)
        return self.drop(nn.utils.rnn.pad_packed_sequence(states)[0].float())

    def forward(self, inputs: Sequence[Tensor], head: int = 0) -> Tensor:
        """Return scores `[T, B, L]`."""
        return self.heads[head](self.encode(*inputs))


def tensors(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the inputs as the network takes them in training."""
    return (
        torch.from_numpy(inputs.characters).long(), torch.from_numpy(inputs.pairs).long(),
        torch.from_numpy(inputs.gazetteer).long(), torch.from_numpy(inputs.lengths).long(),
    )  # fmt: skip


def log_partition(scores: Tensor, lengths: Tensor) -> Tensor:
    """
    Return the log of the summed weight of all legal sequences, `[B]`.

    Args:
        scores: `[T, B, 1 + 4 K]`: O, then B, I, E, S for each of K types.
        lengths: `[B]`.
    """
    steps, batch, tags = scores.shape
    parts = scores[..., 1:].reshape(steps, batch, (tags - 1) // 4, 4)
    begin, within, end = (parts[..., i].contiguous() for i in range(3))
    alone = torch.logsumexp(torch.cat([scores[..., :1], parts[..., 3]], -1), -1)  # closed before and after
    closed = scores.new_zeros(batch)
    opened = scores.new_full((batch, parts.shape[2]), -1e4)
    alive = torch.arange(steps)[:, None] < lengths
    for t in range(steps):
        now = torch.logsumexp(torch.cat([(closed + alone[t])[:, None], opened + end[t]], 1), 1)
        opened = torch.logaddexp(opened + within[t], closed[:, None] + begin[t])
        closed = torch.where(alive[t], now, closed)
    return closed


def structured_loss(scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """
    Return the mean over the batch of `log Z` minus the expected score, in nats per text.

    Args:
        scores: `[T, B, L]`.
        target: `[T, B, L]`, a distribution per character; zero rows where a text has ended.
        lengths: `[B]`.
    """
    return (log_partition(scores, lengths) - (scores * target).sum((0, 2))).mean()


def token_loss(scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Return the cross entropy per character, summed over each text, mean over the batch."""
    return -(scores.log_softmax(-1) * target).sum((0, 2)).mean() + 0 * lengths.sum()


def marginals(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return the probability of each tag at each character, `[T, B, L]`, under the BIES rules."""
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(log_partition(scores, lengths).sum(), scores)[0]
