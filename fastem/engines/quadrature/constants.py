"""Constants of the quadrature engine, with the reason for each value.

Constants that are compiled into kernels stand in `fastem.kernels.line`, `fastem.kernels.plane`,
`fastem.kernels.plane_plan`, `fastem.kernels.gaussian_line` and `fastem.kernels.gaussian_plan`.
"""

import math

# Cost of an E-step, for e_step="auto": nodes per row at the weights of typical fitted models,
# and measured seconds per row, hidden unit and node on one thread.
LINE_NODES = 100
LINE_SECONDS_PER_NODE = 4e-9
GAUSSIAN_NODES = 32
GAUSSIAN_SECONDS_PER_NODE = 1e-8
PLANE_NODES = 30_000
PLANE_SECONDS_PER_NODE = 7.5e-10

# Rows share the tables of sines if their steps are equal. Steps are therefore rounded down to
# powers of a ratio. A larger ratio gives fewer tables and more nodes.
LINE_STEP_RATIO = 1.15
PLANE_STEP_RATIO = 1.05  # nodes grow with the square of the ratio

# Work is cut into pieces for threads. The cuts depend on the data only, not on the threads.
LINE_ROWS_TO_PLAN = 256
PLANE_ROWS_TO_PLAN = 64  # also for the moments
LINE_NODES_PER_PIECE = 2_000_000  # rows times units times nodes: about ten milliseconds
PLANE_NODES_PER_PIECE = 16_000_000  # rows times units times nodes: about ten milliseconds
MOST_STORED_NODES = 2**17  # of the rows of a piece, or of one row: 2 MiB per thread
ROWS_TO_SHARE_TABLES = 8  # at least, because tables cost as much as the nodes of a few rows
THREE_CLASS_ROWS_AT_ONCE = 8192  # bounds the memory for derivatives, (rows, units + 1, 3)

# Estimates of memory.
TABLE_STEPS = 512  # across a hexagon; a typical one has 200
OVERHEAD_BYTES = 2**16  # Python objects of a few rows

# Limits above which an error is raised, so that every computation ends.
MOST_LINE_NODES = 1_000_000  # per row
MOST_PLANE_NODES = 4_000_000  # per row; a row above it is conditioned on a unit instead
NODES_PER_ROW = 1e6  # plane nodes, on average over many rows
LEAST_NODE_BUDGET = 2e8  # plane nodes, for all of a few rows
LINE_NODE_IN_PLANE_NODES = 5.0  # ratio of their times
MOST_ATTEMPTS = 4  # per row: each attempt starts from the p that the last one found
MOST_CONDITIONED_UNITS = 12  # per row: at most 2**12 parts
CONDITIONINGS_PER_ROW = 64  # on average over many rows
LEAST_CONDITIONING_BUDGET = 20_000  # for all of a few rows
ROWS_TO_CONDITION_AT_ONCE = 4096  # bounds the memory of the copies of rows
MOST_CONDITIONED_UNITS_OF_GAUSSIAN = 24  # per row: parts of negligible probability are dropped
# A row with a Gaussian output and with r > 0 units of large weights is conditioned on units if it
# needs more nodes than this number times 2**(r / 2): its mixture then has few components.
NODES_TO_CONDITION = 64
LARGE_SHARE_OF_VARIANCE = 0.01  # a unit of a large weight adds at least this share of the noise
LOG_NEGLIGIBLE_PART = -11.0  # times tol, relative to p: 50 000 parts sum to less than tol p
CERTAIN_LOG_ODDS = 1000.0  # of a unit with a fixed state: exp(-1000) is zero in float64

# Shares of the tolerance, and the decisions between the cases of three classes.
PILOT_TOL = 0.03  # relative error of the first integral: enough to plan the second one
LINE_SHARE = 0.7  # of the tolerance; the class that is dropped takes at most a quarter
LOG_SHARE_EXPECTED = math.log(1.0 / 8.0)  # of the tolerance, relative to a bound on p
LOG_SHARE_FOUND = math.log(1.0 / 4.0)  # of the tolerance, relative to the p that was found
COMPLEMENT_NODES = 2.5  # ratio to the usual number of nodes above which 1 - p is cheaper
LOG_COMPLEMENT_FLOOR = math.log(1.0 / 4.0)  # p > 1/2: an error of 1 - p relative to 1/4 suffices
LOG_HALF = math.log(0.5)
LARGEST_REST = 0.75  # sum of p of two classes; above it the third was not the likeliest one
