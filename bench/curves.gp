# SPDX-License-Identifier: GPL-2.0-only
#
# The scaling curves, from results.csv. bench.py sets "csv" and "svg".

set datafile separator ','
set terminal svg size 1080,640 font 'sans-serif,12' background rgb 'white'
set output svg
set logscale xy
set xrange [80:65000]
set xtics ('100' 100, '1 k' 1000, '10 k' 10000, '50 k' 50000)
set grid lc rgb '#dddddd'
set key right bottom
set format y '%g'
set multiplot layout 2,3

# Only the rows of one operation and layout; a size that is missing, is missing.
n(op, layout) = (strcol(1) eq op && strcol(2) eq layout) ? column(3) : NaN

titles = '"create a session" "retrieve a session" \
	"first open: n sessions, n files" \
	"preserve a file: n in one session" \
	"retrieve a file: n in one session" \
	"blackout: n sessions, n files"'

do for [i = 1:6] {
	op = word('create_session retrieve_session open preserve retrieve blackout', i)
	layout = word('each each each one one each', i)
	single = (i == 3 || i == 6)
	scale = single ? 1e6 : 1e3
	set title word(titles, i)
	set ylabel single ? 'ms' : 'us each'
	plot csv skip 1 using (n(op, layout)):(column(5) / scale) with linespoints \
		lw 2 pt 7 ps 0.6 lc rgb '#b03a2e' title 'C', \
	     csv skip 1 using (n(op, layout)):(column(6) / scale) with linespoints \
		lw 2 pt 5 ps 0.6 lc rgb '#1f618d' title 'this module'
}
unset multiplot
