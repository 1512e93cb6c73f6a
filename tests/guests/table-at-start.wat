;; Declares a table of a million elements.
(table $table 1000000 funcref)
