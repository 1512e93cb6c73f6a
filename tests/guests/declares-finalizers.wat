;; Declares that it writes `/metadata/finalizers/-`, which no policy may.
;;@ writes /metadata/labels /metadata/finalizers/-
