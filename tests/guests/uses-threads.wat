;; A whole component that shares memory, as threads would: what it decides could depend on who is quicker.
(component (core module (memory 1 1 shared)))
