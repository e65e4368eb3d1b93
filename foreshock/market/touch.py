"""The touch record: what the book kernel tells the feature families about each row.

The families never see the ladder while they scan (it already stands at the end of the batch); they
see, for the row with index i of the batch, `touch[i]`, ten int64 words:

word  name       meaning
0     VALID      1 where the book is SYNCED after this row and both sides have a best price, else 0
1–4   BID_TICKS, BID_LOTS, ASK_TICKS, ASK_LOTS   the touch *after* the row (0 where not VALID)
5–9   OFI1..OFI5 order-flow-imbalance contribution of this row at levels 1 to 5, in lots
                 (Cont, Kukanov, Stoikov 2014, eq. 4; Xu, Gould, Howison 2019, multi-level);
                 0 for rows that do not change the book, and for the first row of an epoch

For pack rows (the levels behind a header) the record is not written and must not be read.
"""

from __future__ import annotations

from typing import Final

TOUCH_WORDS: Final = 10
OFI_LEVELS: Final = 5
VALID, BID_TICKS, BID_LOTS, ASK_TICKS, ASK_LOTS, OFI1, OFI2, OFI3, OFI4, OFI5 = range(TOUCH_WORDS)
